# SPDX-License-Identifier: Apache-2.0
"""End-effector poses as a function of time: rows of a chunk to a smooth path."""

from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass
from math import floor

import numpy as np
import pinocchio

from dm0_ros.control.plan import Plan, Rows, interpolate
from dm0_ros.errors import PlanError
from dm0_ros.robots.poses import (
    EULER,
    POSITION,
    QUATERNION,
    name_columns,
    quaternions_from_euler,
    shorten_name,
)
from dm0_ros.robots.spec import Space

# Rounding to float32 stays far below; a quaternion that was averaged or scaled is above.
_UNIT_TOLERANCE = 0.01
_FURTHEST = 100.0  # m: no arm is as long, so it must be another unit
MOST_ROWS = 1000  # of a plan, of poses or of joints


@dataclass(frozen=True)
class PoseRows:
    """Poses of one arm."""

    positions: np.ndarray  # (H, 3) m
    quaternions: np.ndarray  # (H, 4) x y z w, unit length, each on its predecessor's side


@dataclass(frozen=True)
class PosePlan:
    """A chunk's rows, taken apart and checked."""

    arms: tuple[PoseRows, ...]
    grippers: np.ndarray  # (H, G) m of opening


class PosePath:
    """Pose rows to a curve with continuous acceleration that comes to rest at the last row.

    The curve is that of `interpolate`, through positions and through quaternions as points of R^4
    that are scaled back to unit length. That scaling is smooth away from zero, and the chord
    between neighbours on one side stays at least 0.7 from it: rotation is as smooth as position.
    """

    def __init__(self, rows: PoseRows, step: float) -> None:
        """Begin at time 0; rows are ``step`` seconds apart."""
        values = np.hstack([rows.positions, rows.quaternions])
        self._curve = interpolate(Plan(0, 0.0, step, values), 7)
        self._rows = values
        self.step = step
        self.end = self._curve.end

    def pose(self, time: float) -> np.ndarray:
        """Pose (4, 4) at ``time`` (s)."""
        return _homogeneous(self._curve.sample(time)[0])

    def row_after(self, time: float) -> int:
        """The first row that is due after ``time``, or the last one."""
        return min(floor(time / self.step + 1e-9) + 1, len(self._rows) - 1)

    def row_pose(self, row: int) -> np.ndarray:
        """Pose (4, 4) of a row."""
        return _homogeneous(self._rows[row])

    def sample(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Pose (4, 4) and its velocity (6,): m/s, then rad/s, both in the base."""
        place, velocity, _ = self._curve.sample(time)
        x, y, z, w = place[3:]
        # vector part of 2 q' q*: the part of q' along q, which only scales, drops out
        turn = np.array([[w, -z, y, -x], [z, w, -x, -y], [-y, x, w, -z]])
        scale = 2.0 / (x * x + y * y + z * z + w * w)
        return _homogeneous(place), np.concatenate([velocity[:3], scale * turn @ velocity[3:]])


def read_plan(chunk: Rows, arms: Sequence[str], grippers: Sequence[str]) -> PosePlan:
    """The rows of a chunk in space EEF_POSE for ``arms``, whose columns may come in any order.

    Columns of each arm are x y z with qx qy qz qw, or with roll pitch yaw (extrinsic xyz, rad),
    with the prefix ``<arm>_``, which a single arm may lack; and the grippers by name. Angles may
    wrap and quaternions may change sign from row to row: the shortest turn is meant. Raises
    `PlanError` that names the column and row of what is wrong.
    """
    _check(chunk)
    names = [shorten_name(name, arms) for name in chunk.names]
    column = {name: index for index, name in enumerate(names)}
    wanted = [_expect(column, arm, arms) for arm in arms]
    _check_names(chunk.names, column, [*(n for names in wanted for n in names), *grippers], arms)
    poses = tuple(
        _read_arm(chunk.values[:, [column[name] for name in names]], arm)
        for arm, names in zip(arms, wanted, strict=True)
    )
    return PosePlan(poses, chunk.values[:, [column[name] for name in grippers]])


def _expect(known: Container[str], arm: str, arms: Sequence[str]) -> tuple[str, ...]:
    """The columns of one arm: with angles where there are any, else with a quaternion."""
    angles = name_columns(EULER, arm, arms)
    if not any(name in known for name in angles):
        angles = name_columns(QUATERNION, arm, arms)
    return name_columns(POSITION, arm, arms) + angles


def _read_arm(values: np.ndarray, arm: str) -> PoseRows:
    """Rows (H, 6) with angles or (H, 7) with quaternions."""
    far = np.argwhere(np.abs(values[:, :3]) > _FURTHEST)
    if len(far):
        row, axis = far[0]
        raise PlanError(
            f"{arm}: {POSITION[axis]} is {values[row, axis]:.4g} m in row {row}; check the units"
        )
    turns = values[:, 3:]
    euler = turns.shape[1] == len(EULER)
    quaternions = quaternions_from_euler(turns) if euler else _normalise(turns)
    return PoseRows(values[:, :3], same_side(quaternions))


def same_side(quaternions: np.ndarray) -> np.ndarray:
    """Quaternions (H, 4) with signs that make every turn between neighbours the shortest.

    What comes out depends on the rotations alone, not on the signs that they came with, also
    where neighbours are half a turn apart and both ways are as short.
    """
    leading = np.argmax(np.abs(quaternions), axis=1)
    canonical = quaternions * np.sign(np.take_along_axis(quaternions, leading[:, None], axis=1))
    flips = np.einsum("hi,hi->h", canonical[1:], canonical[:-1]) < 0
    signs = np.cumprod(np.where(flips, -1.0, 1.0))
    return canonical * np.concatenate([[1.0], signs])[:, None]


def _homogeneous(place: np.ndarray) -> np.ndarray:
    quaternion = pinocchio.Quaternion(place[3:])
    quaternion.normalize()
    pose = np.eye(4)
    pose[:3, :3] = quaternion.toRotationMatrix()
    pose[:3, 3] = place[:3]
    return pose


def _check(chunk: Rows) -> None:
    if chunk.space is not Space.EEF_POSE:
        raise PlanError(f"plan is in {chunk.space.value} space; poses (eef_pose) are needed here")
    if not (np.isfinite(chunk.step) and chunk.step > 0):
        raise PlanError(f"plan has a step of {chunk.step} s; it must be above zero")
    shape = np.shape(chunk.values)
    if len(shape) != 2 or not shape[0] or shape[1] != len(chunk.names):
        raise PlanError(f"plan has values of shape {shape}; expected (rows, {len(chunk.names)})")
    if shape[0] > MOST_ROWS:
        raise PlanError(f"plan has {shape[0]} rows; at most {MOST_ROWS} are taken")
    bad = np.argwhere(~np.isfinite(chunk.values))
    if len(bad):
        row, column = bad[0]
        raise PlanError(
            f"plan is not finite: {chunk.names[column]} is {chunk.values[row, column]} "
            f"in row {row}"
        )


def _check_names(
    names: Sequence[str], known: Collection[str], wanted: Sequence[str], arms: Sequence[str]
) -> None:
    if len(known) != len(names):
        raise PlanError(f"plan names a column twice: {', '.join(names)}")
    unknown = [name for name in known if name not in wanted]
    missing = [name for name in wanted if name not in known]
    if unknown or missing:
        wrong = f"has unknown column {', '.join(unknown)}" if unknown else ""
        wrong += " and " if unknown and missing else ""
        wrong += f"lacks {', '.join(missing)}" if missing else ""
        raise PlanError(f"{', '.join(arms)}: plan of poses {wrong}; expected {', '.join(wanted)}")


def _normalise(quaternions: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(quaternions, axis=1)
    row = int(np.argmax(np.abs(lengths - 1)))
    if abs(lengths[row] - 1) > _UNIT_TOLERANCE:
        raise PlanError(
            f"the quaternion of row {row} has length {lengths[row]:.3g}; it must be 1, in the "
            "order qx qy qz qw"
        )
    return quaternions / lengths[:, None]
