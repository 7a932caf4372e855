# SPDX-License-Identifier: Apache-2.0
"""How far a robot thinks before it acts: what it does, where, along which way, how exactly."""

from collections.abc import Iterable
from enum import Enum

from dm0_ros.errors import ScaffoldError


class Level(str, Enum):
    """A part of the scaffold. Declared in the order in which they are written."""

    SUBTASK = "subtask"
    BOX = "box"
    TRAJECTORY = "trajectory"
    ACTION = "action"

    @property
    def count(self) -> int:
        """How many levels a scaffold has that ends with this one: 1 to 4."""
        return list(Level).index(self) + 1


def first_levels(count: int) -> tuple[Level, ...]:
    """The first ``count`` levels, 0 to 4; raises `ScaffoldError` beyond that."""
    if not 0 <= count <= len(Level):
        raise ScaffoldError(f"there are {len(Level)} levels ({_names(Level)}), not {count}")
    return tuple(Level)[:count]


def check_levels(levels: Iterable[Level | str]) -> tuple[Level, ...]:
    """The levels, names or members, if they are the first n of the order.

    A level is written after those before it and is understood with them only. Raises
    `ScaffoldError` where one is unknown, left out or out of order.
    """
    given = tuple(levels)
    unknown = [level for level in given if level not in set(Level)]
    if unknown:
        raise ScaffoldError(f"unknown level {unknown[0]!r}; the levels are {_names(Level)}")
    members = tuple(Level(level) for level in given)
    if members != tuple(Level)[: len(members)]:
        raise ScaffoldError(
            f"the levels {_names(members)} are not the first {len(members)} of {_names(Level)}; "
            "name every level up to the last that is wanted, in this order"
        )
    return members


def _names(levels: Iterable[Level]) -> str:
    return ", ".join(level.value for level in levels)
