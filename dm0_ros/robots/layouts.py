# SPDX-License-Identifier: Apache-2.0
"""How the columns of a state or a plan are laid out, and in which units a checkpoint has them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np

from dm0_ros.errors import RobotError
from dm0_ros.robots.checks import require_all, require_known, require_once
from dm0_ros.robots.parts import Gripper
from dm0_ros.robots.poses import EULER, POSITION, name_columns

# The velocity of a base: m/s ahead and to the left, rad/s to the left.
BASE_COLUMNS = ("vx", "vy", "wz")
# The inputs of a controller that moves one end effector, each in [-1, 1]: see dm0_ros/libero/.
COMMAND_COLUMNS = (*POSITION, *EULER, "gripper")


class Space(str, Enum):
    """What the columns of a plan mean. Values are those of the YAML."""

    JOINT_POSITION = "joint_position"
    EEF_POSE = "eef_pose"
    BASE_TWIST = "base_twist"
    EEF_COMMAND = "eef_command"  # inputs of a controller; never sent to an executor


@dataclass(frozen=True)
class RawUnit:
    """The numbers that a checkpoint's data have for a gripper instead of metres; linear between.

    ``widths`` are the openings, closed and open, that they stand for. Left out, they are the
    gripper's own: data of a gripper with another stroke need them.
    """

    closed: float
    open: float
    widths: tuple[float, float] | None = None  # m

    def __post_init__(self) -> None:
        if self.closed == self.open:
            raise RobotError(
                f"closed and open are both {self.closed:g}; write what the data have for each"
            )
        if self.widths and not self.widths[0] < self.widths[1]:
            raise RobotError("the closed width must be below the open one", key=("widths",))


@dataclass(frozen=True)
class Layout:
    """One way to lay out state and action columns, by name. Values are SI and radians here.

    The state has the columns of the action but for a base's velocities, which are only commanded,
    unless ``state`` names others: then column k of the action belongs to column k of the state.
    """

    space: Space
    columns: tuple[str, ...]
    absolute: tuple[str, ...]  # columns that the network gives as values, not as differences
    raw: dict[str, RawUnit] = field(default_factory=dict)  # of grippers that are not in metres
    state: tuple[str, ...] = ()  # columns of the state where they are others; of commands only

    def __post_init__(self) -> None:
        require_once(self.columns, "column", "columns")
        require_known(self.absolute, self.columns, "column", "absolute")
        require_known(self.raw, self.columns, "column", "raw")
        self._check_state()

    def _check_state(self) -> None:
        require_once(self.state, "column", "state")
        commands = self.space is Space.EEF_COMMAND
        if bool(self.state) is not commands:
            reason = "is missing" if commands else "is only for layouts of space eef_command"
            raise RobotError(f"{reason}; {'add' if commands else 'remove'} it", key=("state",))
        if commands and len(self.state) < len(self.columns):
            raise RobotError(
                f"has {len(self.state)} columns for {len(self.columns)} of the action; name one "
                "for each",
                key=("state",),
            )

    @property
    def state_columns(self) -> tuple[str, ...]:
        """Columns of the state, in their order."""
        if self.state:
            return self.state
        return tuple(column for column in self.columns if column not in BASE_COLUMNS)

    def align(self, states: np.ndarray) -> np.ndarray:
        """Of states (..., S), what belongs to each action column (..., C): zero where nothing."""
        states = np.asarray(states, np.float64)
        whole = np.zeros((*states.shape[:-1], len(self.columns)))
        if self.state:
            whole[...] = states[..., : len(self.columns)]
        else:
            whole[..., np.isin(self.columns, self.state_columns)] = states
        return whole

    def with_strokes(self, grippers: Sequence[Gripper]) -> "Layout":
        """The layout with the grippers' own widths where a raw unit leaves them out."""
        widths = {gripper.name: (gripper.closed, gripper.open) for gripper in grippers}
        raw = {
            name: replace(unit, widths=unit.widths or widths[name])
            for name, unit in self.raw.items()
        }
        return replace(self, raw=raw)

    def to_data(self, values: np.ndarray) -> np.ndarray:
        """Values (..., C) in SI and radians to the units of the checkpoint's data."""
        scale, offset = self._units()
        return np.asarray(values, np.float64) * scale + offset

    def from_data(self, values: np.ndarray) -> np.ndarray:
        """The inverse of `to_data`."""
        scale, offset = self._units()
        return (np.asarray(values, np.float64) - offset) / scale

    def states_to_data(self, states: np.ndarray) -> np.ndarray:
        """As `to_data`, of states (..., S)."""
        return self._convert_states(states, self.to_data)

    def states_from_data(self, states: np.ndarray) -> np.ndarray:
        """The inverse of `states_to_data`."""
        return self._convert_states(states, self.from_data)

    def _convert_states(
        self, states: np.ndarray, convert: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        if self.state:  # commands have no units of their own, so their states have none
            return np.asarray(states, np.float64)
        return convert(self.align(states))[..., np.isin(self.columns, self.state_columns)]

    def _units(self) -> tuple[np.ndarray, np.ndarray]:
        """Scale and offset (C,) from SI to the data."""
        scale, offset = np.ones(len(self.columns)), np.zeros(len(self.columns))
        for name, unit in self.raw.items():
            if unit.widths is None:
                raise ValueError(f"the widths of {name} are open; call with_strokes first")
            column, (closed, open_) = self.columns.index(name), unit.widths
            scale[column] = (unit.open - unit.closed) / (open_ - closed)
            offset[column] = unit.closed - scale[column] * closed
        return scale, offset


def check_columns(
    name: str,
    layout: Layout,
    joints: Sequence[str],
    grippers: Sequence[str],
    arms: Sequence[str],
    has_base: bool,
) -> None:
    """Raises `RobotError` where a layout has columns that the robot has not.

    A pose layout has whole poses of end effectors, ``<arm>_x`` and so on where there are several,
    and grippers. A robot with a base may have its velocities in every layout; these are absolute.
    A layout of commands has those of one end effector and its gripper.
    """
    key = ("layouts", name)
    base = BASE_COLUMNS if has_base else ()
    poses = {arm: name_columns((*POSITION, *EULER), arm, arms) for arm in arms}
    known = {
        Space.JOINT_POSITION: (*joints, *grippers, *base),
        Space.EEF_POSE: (*(c for arm in arms for c in poses[arm]), *grippers, *base),
        Space.BASE_TWIST: base,
        Space.EEF_COMMAND: COMMAND_COLUMNS,
    }[layout.space]
    require_known(layout.columns, known, f"column of {layout.space.value}", *key, "columns")
    if layout.space is Space.EEF_POSE:
        commanded = [arm for arm in arms if set(poses[arm]) & set(layout.columns)]
        for arm in commanded:
            require_all(layout.columns, poses[arm], f"{arm}'s", *key, "columns")
        if not commanded:
            raise RobotError("has no end effector's pose; add one", key=(*key, "columns"))
    if layout.space is Space.EEF_COMMAND:
        require_all(layout.columns, COMMAND_COLUMNS, "the command", *key, "columns")
    velocities = [column for column in layout.columns if column in base]
    require_all(layout.absolute, velocities, "the velocity", *key, "absolute")
    require_known(layout.raw, grippers, "gripper", *key, "raw")
