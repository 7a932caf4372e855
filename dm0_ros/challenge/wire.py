# SPDX-License-Identifier: Apache-2.0
"""A policy's columns, SI and radians, as the platform sends states and takes actions, and back."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pinocchio

from dm0_ros.challenge.errors import ChallengeError, PayloadError
from dm0_ros.challenge.table import ChallengeTask, Station
from dm0_ros.policy.protocol import PolicySpec
from dm0_ros.robots.kinematics import euler_from_pose
from dm0_ros.robots.layouts import Layout, Space
from dm0_ros.robots.poses import QUATERNION, write_quaternions
from dm0_ros.robots.spec import RobotSpec

_NEARLY_ONE = 0.02  # by which the length of a quaternion may be off


@dataclass(frozen=True)
class Wire:
    """How one robot's states and actions go over the wire, for plans of one layout."""

    action_type: str  # the platform's word for it
    layout: Layout  # the policy's columns, with the units of the platform's grippers
    quaternions: bool  # the one pose that a row has is written with a quaternion, not angles
    gripper: tuple[float, float]  # what a gripper can be sent, in the platform's unit
    limits: np.ndarray  # (C, 2) of the policy's columns, SI; infinite where there are none
    speeds: np.ndarray  # (C,) greatest speeds of these, SI per s; infinite where there are none

    @property
    def width(self) -> int:
        """Columns of a row on the wire."""
        return len(self.layout.columns) + self.quaternions

    def read_state(self, values: Sequence[float]) -> np.ndarray:
        """The policy's state (C,) from what the platform sent.

        Raises `PayloadError` where these are other than ``width`` finite numbers.
        """
        try:
            row = np.asarray(values, np.float64)
        except (TypeError, ValueError) as cause:
            raise PayloadError(f"the state's action is not a row of numbers: {cause}") from cause
        if row.shape != (self.width,) or not np.isfinite(row).all():
            raise PayloadError(
                f"the state's action has shape {row.shape}; {self.action_type} has {self.width} "
                "finite numbers"
            )
        return self.layout.from_data(_read_angles(row) if self.quaternions else row)

    def write_rows(self, values: np.ndarray) -> list[list[float]]:
        """Rows (H, C) as the platform takes them, within what joints and grippers can do.

        There is no executor of ours in front of that arm: what its limits would cut is cut here.
        """
        values = np.clip(values, *self.limits.T)
        rows = self.layout.to_data(values)
        grippers = np.isin(self.layout.columns, self.layout.absolute)
        rows[:, grippers] = np.clip(rows[:, grippers], *self.gripper)
        if self.quaternions:
            _, rows = write_quaternions(self.layout.columns, rows)
        return rows.tolist()

    def slow_down(self, state: np.ndarray, values: np.ndarray, duration: float) -> float:
        """How long rows (H, C) must last (s), at least ``duration``, so that no joint is asked to
        go faster than it can, from the state (C,) on."""
        values = np.clip(np.vstack([state, values]), *self.limits.T)
        distances = np.abs(np.diff(values, axis=0)).max(axis=0)
        # a little more, for numbers that went through text
        return max(duration, float((distances / self.speeds).max()) * (1 + 1e-6))


def make_wire(
    robot: RobotSpec, station: Station, task: ChallengeTask, columns: Sequence[str], space: Space
) -> Wire:
    """The wire for plans with these columns. Raises `ChallengeError` where it has none."""
    if space.value not in station.action_types:
        known = ", ".join(station.action_types)
        raise ChallengeError(
            f"{task.robot}: the platform takes {known}, the policy plans {space.value}"
        )
    chosen = next(
        (robot.layout(name) for name, item in robot.layouts.items()
         if item.columns == tuple(columns)), None,
    )  # fmt: skip
    if chosen is None:
        raise ChallengeError(
            f"{task.robot}: no layout in its YAML has the policy's columns, {', '.join(columns)}"
        )
    units = robot.layout(task.layout).raw
    quaternions = station.quaternions and space is Space.EEF_POSE
    known = {joint.name: (joint.lower, joint.upper, joint.velocity) for joint in robot.joints}
    limits = np.array([known.get(name, (-np.inf, np.inf, np.inf)) for name in columns])
    return Wire(
        action_type=station.action_types[space.value],
        layout=replace(chosen, raw=units),
        quaternions=quaternions,
        gripper=station.gripper,
        limits=limits[:, :2],
        speeds=limits[:, 2],
    )


def cut_plan(
    values: np.ndarray, step: float, spec: PolicySpec, half_speed: bool
) -> tuple[np.ndarray, float]:
    """The rows of a plan (H, C) that are executed, and how long each lasts (s).

    With ``half_speed`` there are twice as many rows on the same path, linear between those of the
    plan, in the time that the stretched ``step`` gives them: what the authors' client sent.
    """
    rows = values[: spec.executed_rows or len(values)]
    if not half_speed or len(rows) < 2:
        return rows, step
    count = len(rows)
    places = np.linspace(0, count - 1, 2 * count)
    finer = np.stack([np.interp(places, np.arange(count), column) for column in rows.T], axis=1)
    return finer, step * (count - 1) / (2 * count - 1)


def _read_angles(row: np.ndarray) -> np.ndarray:
    """A pose row with one quaternion (x y z w) as one with roll, pitch and yaw."""
    at = 3
    quaternion = row[at : at + len(QUATERNION)]
    length = float(np.linalg.norm(quaternion))
    if abs(length - 1) > _NEARLY_ONE:
        raise PayloadError(f"the state's quaternion has length {length:.3g} instead of 1")
    turn = pinocchio.Quaternion(quaternion / length).matrix()
    return np.concatenate([row[:at], euler_from_pose(turn), row[at + len(QUATERNION) :]])
