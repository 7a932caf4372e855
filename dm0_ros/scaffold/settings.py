# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint says before it acts, as ``scaffold:`` of its recipe and policy.yaml has it."""

from dataclasses import dataclass
from typing import NoReturn

from dm0_ros.errors import ScaffoldError
from dm0_ros.scaffold.levels import Level, check_levels


@dataclass(frozen=True)
class ScaffoldSettings:
    """How scaffolds are written. Raises `ScaffoldError` where the values contradict.

    Rows are those of the plan, counted from 0, which is now.
    """

    grammar: str  # file stem in config/scaffold/
    levels: tuple[Level, ...]  # the first n of `Level`
    view: str  # camera slot of the main view: a fixed one that the network sees
    limit: int  # tokens of text at most
    path_rows: tuple[int, ...] = ()  # at which the path of the end effectors is told
    action_rows: tuple[int, ...] = ()  # at which discrete actions are told

    def __post_init__(self) -> None:
        if not self.levels:
            _refuse("levels", "is empty; name at least one, or leave 'scaffold' out")
        try:
            check_levels(self.levels)
        except ScaffoldError as flaw:
            _refuse("levels", str(flaw))
        if self.limit < 1:
            _refuse("limit", f"is {self.limit} tokens; it must be at least 1")
        for key, level in (("path_rows", Level.TRAJECTORY), ("action_rows", Level.ACTION)):
            rows = getattr(self, key)
            if level in self.levels and not rows:
                _refuse(key, f"is empty, but the levels go as far as {level.value}; name rows")
            if any(row < 0 for row in rows) or list(rows) != sorted(set(rows)):
                _refuse(key, "must rise from row to row, from 0 on")

    def require_rows(self, count: int) -> None:
        """Raises `ScaffoldError` where a plan of ``count`` rows has not all that are named."""
        for key in ("path_rows", "action_rows"):
            if any(row >= count for row in getattr(self, key)):
                _refuse(key, f"goes beyond the plan, whose last row is {count - 1}")


def _refuse(key: str, message: str) -> NoReturn:
    raise ScaffoldError(message, key=(key,))
