# SPDX-License-Identifier: Apache-2.0
"""Files of JSON lines that are read one line at a time, each where it begins."""

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dm0_ros.training.sources.sample import BrokenEpisodeError

_KEPT = 64  # files of which it is remembered where their lines begin

Line = dict[str, Any]


class JsonLines:
    """Lines of many files, blank ones left out. Remembers where lines begin, not what they say."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._begins = lru_cache(_KEPT)(self._find_begins)

    def __reduce__(self) -> tuple:
        """Pickled without what it remembers."""
        return JsonLines, (self._paths,)

    def count(self, file: int) -> int:
        """Lines of a file."""
        return len(self._begins(file))

    def read(self, file: int, numbers: Sequence[int], name: str) -> Iterator[Line]:
        """The lines of those numbers, counted from 0, one at a time.

        Raises `BrokenEpisodeError` with the file's ``name`` where one is no JSON object.
        """
        try:
            with self._paths[file].open("rb") as stream:
                for number in numbers:
                    stream.seek(self._begins(file)[number])
                    yield _parse(stream.readline(), f"{name}: line {number + 1}")
        except OSError as cause:
            raise BrokenEpisodeError(f"{name}: cannot be read ({cause})") from cause

    def _find_begins(self, file: int) -> np.ndarray:
        """Byte (L,) at which each line begins."""
        begins, place = [], 0
        with self._paths[file].open("rb") as stream:
            for line in stream:
                if line.strip():
                    begins.append(place)
                place += len(line)
        return np.array(begins, np.int64)


def _parse(text: bytes, where: str) -> Line:
    try:
        line = json.loads(text)
    except ValueError as cause:
        raise BrokenEpisodeError(f"{where} cannot be read ({cause})") from cause
    if not isinstance(line, dict):
        raise BrokenEpisodeError(f"{where} is no JSON object")
    return line
