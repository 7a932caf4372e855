# SPDX-License-Identifier: Apache-2.0
"""End-effector poses as a function of time: rows of a chunk to a smooth path."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

import numpy as np
import pinocchio

from dm0_ros.control.plan import Chunk, Plan, interpolate
from dm0_ros.errors import PlanError
from dm0_ros.robots.spec import Space

POSITION = ("x", "y", "z")
QUATERNION = ("qx", "qy", "qz", "qw")
EULER = ("roll", "pitch", "yaw")
# Rounding to float32 stays far below; a quaternion that was averaged or scaled is above.
_UNIT_TOLERANCE = 0.01
_FURTHEST = 100.0  # m: no arm is as long, so it must be another unit
MOST_ROWS = 1000  # of a plan, of poses or of joints


@dataclass(frozen=True)
class PoseRows:
    """A chunk's rows, taken apart and checked."""

    positions: np.ndarray  # (H, 3) m
    quaternions: np.ndarray  # (H, 4) x y z w, unit length, each on its predecessor's side
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


def read_rows(chunk: Chunk, arm: str, grippers: Sequence[str]) -> PoseRows:
    """The rows of a chunk in space EEF_POSE, whose columns may come in any order.

    Columns are x y z with qx qy qz qw, or with roll pitch yaw (extrinsic xyz, rad), each alone or
    with the prefix ``<arm>_``, and the grippers by name. Angles may wrap and quaternions may
    change sign from row to row: the shortest turn is meant. Raises `PlanError` that names the
    column and row of what is wrong.
    """
    _check(chunk)
    column = {name.removeprefix(f"{arm}_"): index for index, name in enumerate(chunk.names)}
    angles = EULER if set(EULER) & set(column) else QUATERNION
    wanted = (*POSITION, *angles, *grippers)
    _check_names(chunk.names, column, wanted, arm)
    values = chunk.values[:, [column[name] for name in wanted]]
    far = np.argwhere(np.abs(values[:, :3]) > _FURTHEST)
    if len(far):
        row, axis = far[0]
        raise PlanError(
            f"{arm}: {POSITION[axis]} is {values[row, axis]:.4g} m in row {row}; check the units"
        )
    turns = values[:, 3 : 3 + len(angles)]
    quaternions = quaternions_from_euler(turns) if angles == EULER else _normalise(turns)
    return PoseRows(values[:, :3], same_side(quaternions), values[:, 3 + len(angles) :])


def quaternions_from_euler(angles: np.ndarray) -> np.ndarray:
    """Roll, pitch, yaw (H, 3) about fixed axes, rad, to quaternions (H, 4) x y z w."""
    halves = np.asarray(angles, np.float64) / 2
    (sr, sp, sy), (cr, cp, cy) = np.sin(halves).T, np.cos(halves).T
    return np.stack(
        [
            sr * cp * cy - cr * sp * sy,
            cr * sp * cy + sr * cp * sy,
            cr * cp * sy - sr * sp * cy,
            cr * cp * cy + sr * sp * sy,
        ],
        axis=1,
    )


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


def _check(chunk: Chunk) -> None:
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
    names: Sequence[str], known: Sequence[str], wanted: Sequence[str], arm: str
) -> None:
    if len(known) != len(names):
        raise PlanError(f"plan names a column twice: {', '.join(names)}")
    unknown = [name for name in known if name not in wanted]
    missing = [name for name in wanted if name not in known]
    if unknown or missing:
        wrong = f"has unknown column {', '.join(unknown)}" if unknown else ""
        wrong += " and " if unknown and missing else ""
        wrong += f"lacks {', '.join(missing)}" if missing else ""
        raise PlanError(f"{arm}: plan of poses {wrong}; expected {', '.join(wanted)}")


def _normalise(quaternions: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(quaternions, axis=1)
    row = int(np.argmax(np.abs(lengths - 1)))
    if abs(lengths[row] - 1) > _UNIT_TOLERANCE:
        raise PlanError(
            f"the quaternion of row {row} has length {lengths[row]:.3g}; it must be 1, in the "
            "order qx qy qz qw"
        )
    return quaternions / lengths[:, None]
