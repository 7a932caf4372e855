# SPDX-License-Identifier: Apache-2.0
"""What a safetensors file says about itself, and whether that can be true. No data are read.

Layout: 8 bytes with the header's length (little endian), the header as JSON, then the tensors one
after another (https://github.com/huggingface/safetensors, "Format"). The library refuses damaged
files without saying what is lost; this reads what is left of them.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Bits of one number of each type.
BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("BF16", "F16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
_LONGEST = 100_000_000  # bytes of a header, as the library has it
_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Stored:
    """One tensor of a file."""

    name: str
    file: Path
    dtype: str  # in the words of the format: BF16, F32 ...
    shape: tuple[int, ...]
    begin: int  # bytes from the end of the header
    size: int  # bytes


@dataclass(frozen=True)
class Header:
    """One file: its tensors in the order of their data, and what is wrong with it."""

    file: Path
    size: int  # bytes of the file
    tensors: tuple[Stored, ...] = ()
    problems: tuple[str, ...] = ()


def is_pointer(file: Path) -> bool:
    """Whether this is what git keeps of a large file until git-lfs fetches it.

    A file that cannot be read is none: whoever needs its content will say why.
    """
    try:
        with file.open("rb") as content:
            return content.read(len(_POINTER)) == _POINTER
    except OSError:
        return False


def describe_pointer(file: Path) -> str:
    """What is wrong with a file for which `is_pointer` holds, and the remedy."""
    return (
        f"{file.name} is a pointer of git-lfs, not the file itself: type 'git lfs pull' in "
        f"{file.parent}"
    )


def read_header(file: Path) -> Header:
    """The header of a safetensors file. Damage is named in `Header.problems`, never raised."""
    try:
        size = file.stat().st_size
        if is_pointer(file):
            return Header(file, size, problems=(describe_pointer(file),))
        with file.open("rb") as content:
            length = int.from_bytes(content.read(8), "little")
            if size >= 8 and length > _LONGEST:
                return Header(file, size, problems=(f"{file.name} is no safetensors file",))
            if size < 8 or length > size - 8:
                told = f"{file.name} is truncated: {size} bytes end inside its header"
                return Header(file, size, problems=(f"{told}; copy it again",))
            text = content.read(length)
    except OSError as error:
        return Header(file, 0, problems=(f"{file.name} cannot be read ({error.strerror})",))
    return _parse(file, size, text)


def _parse(file: Path, size: int, text: bytes) -> Header:
    problems: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        counts = Counter(name for name, _ in pairs)
        problems.extend(f"{file.name} names {n} twice" for n, c in counts.items() if c > 1)
        return dict(pairs)

    try:
        entries = json.loads(text, object_pairs_hook=collect)
        entries.pop("__metadata__", None)
        tensors = [_read_entry(file, name, entry) for name, entry in entries.items()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        told = f"{file.name} has a header that cannot be read ({error!r}); copy it again"
        return Header(file, size, problems=(told,))
    tensors.sort(key=lambda tensor: (tensor.begin, tensor.size))
    problems += _check_sizes(file, tensors)
    problems += _check_ends(file, size - 8 - len(text), tensors)
    return Header(file, size, tuple(tensors), tuple(problems))


def _read_entry(file: Path, name: str, entry: dict[str, Any]) -> Stored:
    begin, end = entry["data_offsets"]
    shape, numbers = entry["shape"], [begin, end, *entry["shape"]]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f"{name} has a shape or offset that is no whole number")
    return Stored(name, file, str(entry["dtype"]), tuple(shape), begin, end - begin)


def _check_sizes(file: Path, tensors: list[Stored]) -> list[str]:
    """Tensors whose room is not what their shape needs, or that do not follow each other."""
    problems, place = [], 0
    for tensor in tensors:
        needed = BITS.get(tensor.dtype, 0) * math.prod(tensor.shape) / 8
        if tensor.dtype not in BITS:
            problems.append(f"{file.name}: {tensor.name} has unknown type {tensor.dtype!r}")
        elif needed != tensor.size:
            problems.append(
                f"{file.name} contradicts itself: {tensor.name} {tensor.dtype} "
                f"{tensor.shape} needs {needed:.0f} bytes and has {tensor.size}"
            )
        if tensor.begin != place:
            how = "overlaps" if tensor.begin < place else "leaves a hole after"
            problems.append(f"{file.name} contradicts itself: {tensor.name} {how} its predecessor")
        place = max(place, tensor.begin + tensor.size)
    return problems


def _check_ends(file: Path, room: int, tensors: list[Stored]) -> list[str]:
    """Whether the data end where the file does; ``room`` is in bytes after the header."""
    end = max((tensor.begin + tensor.size for tensor in tensors), default=0)
    if room > end:
        return [f"{file.name} is {room - end} bytes longer than its header says; copy it again"]
    lost = [tensor.name for tensor in tensors if tensor.begin + tensor.size > room]
    if not lost:
        return []
    return [
        f"{file.name} is truncated: {end - room} of {end} bytes are missing, and with them "
        f"{shorten(lost)}; copy it again"
    ]


def shorten(names: list[str] | tuple[str, ...]) -> str:
    """All the names in few words: those that differ only in one number share a line of it.

    >>> shorten(["a.0.b", "a.1.b", "a.2.b", "c"])
    'a.{0-2}.b, c'
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for name in names:
        before, number, after = _split_number(name)
        groups.setdefault((before, after), []).extend([] if number is None else [number])
    told = []
    for (before, after), numbers in groups.items():
        inside = _describe_runs(sorted(set(numbers)))
        told.append(f"{before}{inside}{after}")
    return ", ".join(told)


def _split_number(name: str) -> tuple[str, int | None, str]:
    parts = name.split(".")
    for index, part in enumerate(parts):
        if part.isdecimal():
            before = "".join(f"{item}." for item in parts[:index])
            return before, int(part), "".join(f".{item}" for item in parts[index + 1 :])
    return name, None, ""


def _describe_runs(numbers: list[int]) -> str:
    """[0, 1, 2, 5] as '{0-2,5}', one number as itself."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    told = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return "" if not told else told[0] if len(numbers) == 1 else "{" + ",".join(told) + "}"
