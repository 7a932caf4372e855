# SPDX-License-Identifier: Apache-2.0
"""What a pickle says of NumPy arrays, taken as words and done by hand; see `payload`."""

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from dm0_ros.challenge.errors import ForbiddenPayload, PayloadError

_CODES = {"b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"}
_MOST_AXES = 8


class Word(Enum):
    """The names that pickled arrays have in them: (name, modules that it is said to be in)."""

    RECONSTRUCT = ("_reconstruct", ("numpy.core.multiarray", "numpy._core.multiarray"))
    SCALAR = ("scalar", ("numpy.core.multiarray", "numpy._core.multiarray"))
    FROM_BUFFER = ("_frombuffer", ("numpy.core.numeric", "numpy._core.numeric"))
    ARRAY = ("ndarray", ("numpy",))
    DTYPE = ("dtype", ("numpy",))
    # protocol 2 has no bytes of its own
    ENCODE = ("encode", ("_codecs",))
    BYTES = ("bytes", ("__builtin__", "builtins"))

    @classmethod
    def recognise(cls, module: str, name: str) -> "Word":
        """The word; `ForbiddenPayload` with the name where it is none."""
        for word in cls:
            if name == word.value[0] and module in word.value[1]:
                return word
        raise ForbiddenPayload(
            f"the payload asks for {module[:100]}.{name[:100]}, which is no plain data; nothing "
            "of it was built. Do not trust this server"
        )

    def __str__(self) -> str:
        return f"{self.value[1][-1]}.{self.value[0]}"


@dataclass(frozen=True, eq=False)
class Pending:
    """An array or a number's type of which the pickle has yet to say what it is."""

    dtype: np.dtype | None = None  # None: an array


def call_word(word: Word, arguments: tuple) -> Any:
    """What the word with these arguments means. Raises `PayloadError` where that is nothing."""
    if word is Word.RECONSTRUCT and len(arguments) == 3 and arguments[0] is Word.ARRAY:
        return Pending()
    if word is Word.DTYPE and arguments and arguments[0] in _CODES:
        return Pending(np.dtype(arguments[0]))
    if word is Word.SCALAR and len(arguments) == 2:
        return _make_array(arguments[1], arguments[0], ()).item()
    if word is Word.FROM_BUFFER and len(arguments) == 4:
        data, dtype, shape, order = arguments
        return _make_array(data, dtype, shape, order)
    if word is Word.ENCODE and len(arguments) == 2 and arguments[1] == "latin1":
        return str.encode(arguments[0], "latin-1")
    if word is Word.BYTES and not arguments:
        return b""
    shown = next((str(a)[:20] for a in arguments if type(a) is str), "others")
    raise ForbiddenPayload(f"the payload calls {word} with {shown}; arrays of numbers do not")


def fill(pending: Pending, state: Any) -> np.ndarray | np.dtype:
    """The array (its state: version, shape, type, order, bytes) or the number's type."""
    if type(state) is not tuple or len(state) < 5:
        raise PayloadError("the payload has an array whose state is not that of an array")
    if pending.dtype is not None:
        if state[1] not in ("<", "|", ">") or any(part is not None for part in state[2:5]):
            raise ForbiddenPayload("the payload has an array of other things than numbers")
        return pending.dtype.newbyteorder(state[1])
    _version, shape, dtype, is_fortran, data = state[:5]
    return _make_array(data, dtype, shape, "F" if is_fortran else "C")


def _make_array(data: Any, dtype: Any, shape: Any, order: str = "C") -> np.ndarray:
    """A copy of the bytes as an array; `PayloadError` where they do not fill it exactly."""
    if not isinstance(dtype, np.dtype) or type(data) is not bytes:
        raise PayloadError("the payload has an array without its type or its bytes")
    plain = type(shape) is tuple and len(shape) <= _MOST_AXES
    if not plain or any(type(n) is not int or n < 0 for n in shape) or order not in ("C", "F"):
        raise PayloadError("the payload has an array without a shape")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise PayloadError(f"the payload has {len(data)} bytes for an array of shape {shape}")
    return np.frombuffer(data, dtype).reshape(shape, order=order).copy()
