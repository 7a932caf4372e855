# SPDX-License-Identifier: Apache-2.0
"""What a scaffold says, whatever words it is written in, and the limits that hold for all."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral

from dm0_ros.errors import ScaffoldError
from dm0_ros.scaffold.levels import Level

SCALE = 1000
"""Places are whole numbers from 0 to this, across the main view's width and down its height."""
PATH_NAMES = ("main", "left", "right")
"""Whose way a path is, in the order in which paths are written; one arm alone is `main`."""
MOST_POINTS = 25
"""Of one path; the paper's figure shows no more (facts: dm0_model.md, D.5)."""
BINS = 255
"""Values that a discrete action may have, one token each (facts: dm0_model.md, C.5, D.4)."""
MOST_ACTIONS = 50 * 32
"""Every column of every row of DM0's chunk."""
EDGES = ("x_min", "y_min", "x_max", "y_max")

Box = tuple[int, int, int, int]
Point = tuple[int, int]


def name_paths(arms: Sequence[str]) -> tuple[str, ...]:
    """The names of the paths of a robot with these end effectors."""
    return tuple(arms) if len(arms) > 1 else PATH_NAMES[:1]


@dataclass(frozen=True)
class Scaffold:
    """What the robot reasons about one picture of its main view.

    Raises `ScaffoldError`, which names the number, where a place or a bin is out of its range,
    a box has its edges the wrong way round, or a path has an unknown name, no point or too many.
    """

    subtask: str
    """What the robot is doing now, in words. Whether they can be written is up to the grammar."""
    box: Box | None = None
    """Goal: x_min, y_min, x_max, y_max in 0 to `SCALE`; None where it is not seen or not asked."""
    paths: dict[str, tuple[Point, ...]] = field(default_factory=dict)
    """Coming places (x, y) of end effectors, by name in `PATH_NAMES`; empty as box is None."""
    actions: tuple[int, ...] = ()
    """Bins 0 to 254, row after row."""

    def __post_init__(self) -> None:
        if self.box is not None:
            _check_box(self.box)
        for name, points in self.paths.items():
            _check_path(name, points)
        _check_actions(self.actions)

    def up_to(self, level: Level) -> "Scaffold":
        """This scaffold without what comes after ``level``."""
        return Scaffold(
            self.subtask,
            self.box if level.count >= Level.BOX.count else None,
            self.paths if level.count >= Level.TRAJECTORY.count else {},
            self.actions if level.count >= Level.ACTION.count else (),
        )


@dataclass(frozen=True)
class Rejection:
    """Why a text is no scaffold."""

    reason: str


def _check_box(box: Sequence[int]) -> None:
    if len(box) != len(EDGES):
        raise ScaffoldError(f"box has {len(box)} numbers; it has {', '.join(EDGES)}")
    for name, value in zip(EDGES, box, strict=True):
        _check_number(f"box: {name}", value, SCALE)
    for axis, low, high in (("x", box[0], box[2]), ("y", box[1], box[3])):
        if low > high:
            raise ScaffoldError(f"box: {axis}_min {low} is above {axis}_max {high}")


def _check_path(name: str, points: Sequence[Point]) -> None:
    if name not in PATH_NAMES:
        raise ScaffoldError(f"unknown path {name!r}; paths are {', '.join(PATH_NAMES)}")
    if not 1 <= len(points) <= MOST_POINTS:
        raise ScaffoldError(f"path {name} has {len(points)} points; a path has 1 to {MOST_POINTS}")
    for number, point in enumerate(points, 1):
        if len(point) != 2:
            raise ScaffoldError(f"path {name}: point {number} has {len(point)} numbers, not x, y")
        for axis, value in zip("xy", point, strict=True):
            _check_number(f"{axis} of point {number} of path {name}", value, SCALE)


def _check_actions(actions: Sequence[int]) -> None:
    if len(actions) > MOST_ACTIONS:
        raise ScaffoldError(f"there are {len(actions)} actions; at most {MOST_ACTIONS} are read")
    for number, value in enumerate(actions, 1):
        _check_number(f"action {number}", value, BINS - 1)


def _check_number(what: str, value: int, largest: int) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ScaffoldError(f"{what} is {value!r}; it must be a whole number")
    if not 0 <= value <= largest:
        raise ScaffoldError(f"{what} is {value}; it must lie in 0 to {largest}")
