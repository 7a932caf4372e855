# SPDX-License-Identifier: Apache-2.0
"""Pickles of plain data, read without unpickling.

The platform sends robot states as pickles. Python's unpickler calls what a pickle names; even one
that is restricted does, within its list. This reader walks over the opcodes (pickletools splits
them, and builds nothing) and makes of them what it knows: None, truth values, numbers, text,
bytes, lists, tuples, dictionaries and NumPy arrays of numbers. No name in the payload is ever
looked up or called: those that arrays of numbers have are recognised as words (see `arrays`), all
others are refused.
"""

import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np

from dm0_ros.challenge.arrays import Pending, Word, call_word, fill
from dm0_ros.challenge.errors import ForbiddenPayload, PayloadError

LONGEST_PAYLOAD = 32 * 1024 * 1024  # bytes
MOST_OPCODES = 10_000
_LONGEST_INTEGER = 2**128
_KEYS = (str, int, float, bytes)


def read_payload(data: bytes) -> Any:
    """The plain data that a pickle of protocol 2 to 5 holds.

    Raises `ForbiddenPayload`, which names what the pickle wanted built or called, and
    `PayloadError` where it is damaged, longer than `LONGEST_PAYLOAD`, or has more than
    `MOST_OPCODES` opcodes.
    """
    if len(data) > LONGEST_PAYLOAD:
        raise PayloadError(f"the payload has {len(data)} bytes; {LONGEST_PAYLOAD} are the limit")
    reader = _Reader()
    end = None
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(data)):
            if count >= MOST_OPCODES:
                raise PayloadError(f"the payload has more than {MOST_OPCODES} opcodes")
            reader.take(opcode.name, argument)
            end = position + 1
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as cause:
        raise PayloadError(f"the payload is damaged: {type(cause).__name__}: {cause}") from cause
    if end != len(data):
        raise PayloadError(f"the payload ends at byte {end}, but {len(data)} came")
    return reader.finish()


class _Mark:
    """Where a list of arguments begins on the stack."""


_MARK = _Mark()
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "MARK": lambda: _MARK,
}
_VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"}
_VALUES |= {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
_VALUES |= {"SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING = {"PROTO", "FRAME", "STOP"}


class _Reader:
    """A stack and a memo, as the pickle format has them, that hold plain data."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def take(self, name: str, argument: Any) -> None:
        """Do what one opcode says, or refuse it."""
        if name in _VALUES:
            self._stack.append(_check_value(argument))
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in _TUPLES:
            self._push_tuple(self._pop(_TUPLES[name]))
        elif name in _NOTHING:
            return
        elif (step := getattr(self, f"_do_{name.lower()}", None)) is not None:
            step(argument)
        else:
            raise ForbiddenPayload(f"the payload has opcode {name}, which plain data do not need")

    def finish(self) -> Any:
        """The one thing that is left. Raises `PayloadError` where it is not plain data."""
        if len(self._stack) != 1:
            raise PayloadError(f"the payload leaves {len(self._stack)} things instead of one")
        _check_plain(self._stack[0])
        return self._stack[0]

    def _pop(self, count: int) -> list[Any]:
        taken = self._stack[-count:]
        if len(taken) < count or any(item is _MARK for item in taken):
            raise PayloadError("the payload takes more from its stack than is there")
        del self._stack[-count:]
        return taken

    def _pop_to_mark(self) -> list[Any]:
        for index in reversed(range(len(self._stack))):
            if self._stack[index] is _MARK:
                taken = self._stack[index + 1 :]
                del self._stack[index:]
                return taken
        raise PayloadError("the payload has no mark where one is needed")

    def _push_tuple(self, items: list[Any]) -> None:
        self._stack.append(tuple(items))

    def _do_tuple(self, _argument: Any) -> None:
        self._push_tuple(self._pop_to_mark())

    def _do_append(self, _argument: Any) -> None:
        items = self._pop(1)
        self._top(list).extend(items)

    def _do_appends(self, _argument: Any) -> None:
        items = self._pop_to_mark()
        self._top(list).extend(items)

    def _do_setitem(self, _argument: Any) -> None:
        self._set_items(self._pop(2))

    def _do_setitems(self, _argument: Any) -> None:
        self._set_items(self._pop_to_mark())

    def _set_items(self, items: list[Any]) -> None:
        if len(items) % 2:
            raise PayloadError("the payload has a key without a value")
        target = self._top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in _KEYS:
                raise PayloadError(f"a key is a {type(key).__name__}; text or numbers can be")
            target[key] = value

    def _top(self, kind: type) -> Any:
        if not self._stack or type(self._stack[-1]) is not kind:
            raise PayloadError(f"the payload fills a {kind.__name__} that is not there")
        return self._stack[-1]

    def _do_memoize(self, _argument: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _do_binput(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    _do_long_binput = _do_binput

    def _do_binget(self, index: int) -> None:
        self._stack.append(self._memo[index])

    _do_long_binget = _do_binget

    def _do_global(self, argument: str) -> None:
        self._stack.append(Word.recognise(*argument.split(" ", 1)))

    def _do_stack_global(self, _argument: Any) -> None:
        module, name = self._pop(2)
        if not (type(module) is str and type(name) is str):
            raise PayloadError("the payload names something by what is not text")
        self._stack.append(Word.recognise(module, name))

    def _do_reduce(self, _argument: Any) -> None:
        word, arguments = self._pop(2)
        if not (isinstance(word, Word) and type(arguments) is tuple):
            raise ForbiddenPayload(f"the payload calls a {type(word).__name__}")
        self._stack.append(call_word(word, arguments))

    def _do_build(self, _argument: Any) -> None:
        (state,) = self._pop(1)
        if not self._stack or not isinstance(self._stack[-1], Pending):
            raise ForbiddenPayload("the payload sets the state of what is no array")
        pending = self._stack[-1]
        value = fill(pending, state)
        self._stack[-1] = value
        for index, item in self._memo.items():
            if item is pending:
                self._memo[index] = value


def _check_value(value: Any) -> Any:
    if type(value) is int and abs(value) >= _LONGEST_INTEGER:
        raise PayloadError("the payload has an integer of more than 128 bits")
    return bytes(value) if type(value) is bytearray else value


def _check_plain(value: Any) -> None:
    """Raise `PayloadError` where a word or a half-built array is left, however deep."""
    seen, waiting = set(), [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, (Word, Pending, _Mark, np.dtype)):
            raise PayloadError(f"the payload holds a {item}, which is no plain data")
        if isinstance(item, (dict, list, tuple)) and id(item) not in seen:
            seen.add(id(item))
            waiting += item.values() if isinstance(item, dict) else item
