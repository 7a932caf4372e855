# SPDX-License-Identifier: Apache-2.0
"""Plans of end-effector poses to plans of joint positions, which the executor can follow."""

from dataclasses import dataclass, replace
from math import ceil
from typing import NamedTuple

import numpy as np

from dm0_ros.control.certificate import certify, explain
from dm0_ros.control.curve import Curve
from dm0_ros.control.kinematics import Arm, Place
from dm0_ros.control.limits import Limits
from dm0_ros.control.plan import Chunk, Plan, interpolate
from dm0_ros.control.pose import MOST_ROWS, PosePath, read_rows
from dm0_ros.control.pose_timing import JointPath, PathClock
from dm0_ros.control.pose_tracing import trace
from dm0_ros.errors import PlanError, RobotError
from dm0_ros.robots.inverse import pose_error
from dm0_ros.robots.spec import GripperMode, RobotSpec, Space

# What the curve through solved rows may be off the path; half of what `PoseSolver` promises, for
# what lies between the places that are checked.
_DISTANCE, _ANGLE = 5e-4, np.deg2rad(0.1)  # m, rad
_LARGEST_STEP = 0.1  # s between solved rows
_ROUNDING = 1e-6  # rows
_ATTEMPTS = 4  # at keeping limits by stretching time where they bind; then all of it is stretched


@dataclass(frozen=True)
class Solution:
    """A plan of joint positions, and what it took."""

    chunk: Chunk  # space JOINT_POSITION; same start, other step
    plan_times: np.ndarray  # (M,) s after the start when the plan of poses wants each row
    delay: float  # s that it takes longer than the plan of poses, because limits bind
    limited: tuple[str, ...]  # "<joint>: <limit>" of those that bind


class _Timed(NamedTuple):
    """Rows of joints in time."""

    step: float  # s
    plan_times: np.ndarray  # (M,) s
    values: np.ndarray  # (M, J) rad
    bound: np.ndarray  # (4, J) bool: limits that bind, as of a `Certificate`


class PoseSolver:
    """Makes plans of joints of the plans of poses for one arm. Same input, same output."""

    def __init__(self, robot: RobotSpec, arm: str | None = None) -> None:
        """Solve for the end effector named ``arm``, or for the only one.

        Raises `RobotError` where the robot has no such end effector, or joints or grippers that
        would get no set-point.
        """
        ends = {end.name: end for end in robot.end_effectors}
        if arm is None and len(ends) == 1:
            arm = next(iter(ends))
        if arm not in ends:
            raise RobotError(
                f"{robot.name}: has no end effector '{arm}'; name one of {', '.join(ends)}"
            )
        self._arm = Arm(robot, ends[arm])
        if self._arm.names != robot.joint_names:
            raise RobotError(
                f"{robot.name}: a plan of poses of '{arm}' gives set-points for "
                f"{', '.join(self._arm.names)}, but the robot's joints are "
                f"{', '.join(robot.joint_names)}; use a layout of joints"
            )
        self._limits = Limits.from_robot(robot)
        self._grippers = robot.gripper_names
        self._hold = np.array([g.mode is GripperMode.HOLD for g in robot.grippers], dtype=bool)

    def solve(self, chunk: Chunk, joints: np.ndarray) -> Solution:
        """Turn a chunk in space EEF_POSE into one in space JOINT_POSITION.

        ``joints`` (D,) are the set-points at present, in the robot's order of columns: the
        configuration near which the solution stays. For the columns see `read_rows`. The solution
        passes every pose to within 1 mm and 0.2 degrees, at its time or later: where joint
        velocities or accelerations would exceed their limits, time is stretched.

        Raises `PlanError` that names the row and the reason, where a pose is out of reach or only
        to be had by a leap of the joints.
        """
        rows = read_rows(chunk, self._arm.name, self._grippers)
        path = PosePath(rows, chunk.step)
        present = np.asarray(joints, np.float64)[: len(self._arm.names)]
        if not np.isfinite(present).all():
            raise PlanError(f"{self._arm.name}: the present joint positions are not finite")
        step = chunk.step / ceil(chunk.step / _LARGEST_STEP - 1e-9)
        try:
            track = trace(self._arm, path, present, step)
        except PlanError:
            # on its way home a free elbow may get where the tip cannot go on
            track = trace(self._arm, path, present, step, relax=False)
        timed = self._time(path, track, step)
        plan_times, limited = timed.plan_times, explain(timed.bound, self._limits)
        openings = self._openings(rows.grippers, plan_times / chunk.step)
        solved = replace(
            chunk,
            space=Space.JOINT_POSITION,
            step=timed.step,
            names=(*self._arm.names, *self._grippers),
            values=np.hstack([timed.values, openings]),
        )
        delay = max(0.0, timed.step * len(timed.values) - path.end) if limited else 0.0
        return Solution(solved, plan_times, delay, limited)

    def _openings(self, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Openings (M, G) of rows (H, G) at ``places`` (M,), in rows: each in its own mode."""
        last = len(rows) - 1
        due = rows[np.clip(np.floor(places + _ROUNDING).astype(int), 0, last)]
        straight = [np.interp(places, np.arange(last + 1), column) for column in rows.T]
        return np.where(self._hold, due, np.transpose(straight)) if straight else due

    def _time(self, path: PosePath, track: JointPath, step: float) -> _Timed:
        """Rows along the track, the curve through which keeps every limit."""
        acceleration = self._arm.acceleration
        bound = np.zeros((4, len(self._arm.names)), dtype=bool)
        for _ in range(_ATTEMPTS):
            clock = PathClock(track, self._arm.velocity, acceleration)
            spacing, plan_times, values = self._space_out(path, track, clock, step)
            certificate = certify(_curve(values, spacing))
            bound[1:3] |= clock.bound
            bound |= certificate.broken(self._limits)
            slower = certificate.stretch(self._limits)
            if slower == 1:
                break
            # more room for what the spline adds, where time is stretched already
            acceleration = acceleration / slower**2
        return _Timed(spacing * slower, plan_times, values, bound)

    def _space_out(
        self, path: PosePath, track: JointPath, clock: PathClock, step: float
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Rows so close, at most ``step`` seconds, that the spline through them keeps to the path.

        Returns their step (s), plan times (M,) and joint positions (M, J).
        """
        while (count := ceil(clock.end / step - 1e-9)) <= MOST_ROWS:
            plan_times = clock.plan_times(np.linspace(0.0, clock.end, count, endpoint=False))
            values = track.sample(plan_times)
            # the curve through them comes to rest there one step later, when the path does
            values[-1] = track.joints[-1]
            if self._keeps_to(path, clock, values):
                return clock.end / count, plan_times, values
            step /= 2
        raise PlanError(
            f"{self._arm.name}: {count} rows of joints would be needed to keep to the poses; at "
            f"most {MOST_ROWS} are taken. Plan less at once, or keep clear of singularities"
        )

    def _keeps_to(self, path: PosePath, clock: PathClock, values: np.ndarray) -> bool:
        """Whether the curve through the rows is on the path, at the rows and half-way."""
        times = np.linspace(0.0, clock.end, 2 * len(values) + 1)
        joints = _curve(values, clock.end / len(values)).positions(times)
        for place, plan_time in zip(joints, clock.plan_times(times), strict=True):
            error = pose_error(path.pose(plan_time), self._arm.chain.pose_at(place))
            if not Place(place, error).within(_DISTANCE, _ANGLE):
                return False
        return True


def _curve(values: np.ndarray, step: float) -> Curve:
    """What the executor makes of rows (M, J)."""
    return interpolate(Plan(0, 0.0, step, values), values.shape[1])
