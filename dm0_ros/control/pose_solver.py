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
_ATTEMPTS = 8  # at keeping limits by stretching time where they bind; then all of it is stretched
_HARDER = 1.05  # each but the first


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

    def solve(self, chunk: Chunk, joints: np.ndarray, passed: float = 0.0) -> Solution:
        """Turn a chunk in space EEF_POSE into one in space JOINT_POSITION.

        ``joints`` (D,) are the set-points at present, in the robot's order of columns: the
        configuration near which the solution stays. The first ``passed`` seconds of the plan are
        over already. For the columns see `read_rows`. The solution passes every pose to within
        1 mm and 0.2 degrees, at its time or later: where joints would exceed their limits, time is
        stretched.

        Raises `PlanError` that names the row and the reason, where a pose is out of reach or only
        to be had by a leap of the joints.
        """
        rows = read_rows(chunk, self._arm.name, self._grippers)
        path = PosePath(rows, chunk.step)
        present = np.asarray(joints, np.float64)[: len(self._arm.names)]
        if not np.isfinite(present).all():
            raise PlanError(f"{self._arm.name}: the present joint positions are not finite")
        step = chunk.step / ceil(chunk.step / _LARGEST_STEP - 1e-9)
        timed = self._time(path, present, step, passed)
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

    def _time(self, path: PosePath, present: np.ndarray, step: float, passed: float) -> _Timed:
        """Rows at most ``step`` seconds apart, and closer where the path demands it."""
        while True:
            track = self._trace(path, present, step)
            clock, timed = self._within_limits(track, step, passed)
            if self._keeps_to(path, clock, timed, min(passed, clock.end)):
                return timed
            step /= 2

    def _trace(self, path: PosePath, present: np.ndarray, step: float) -> JointPath:
        try:
            return trace(self._arm, path, present, step)
        except PlanError:
            # on its way home a free elbow may get where the tip cannot go on
            return trace(self._arm, path, present, step, relax=False)

    def _within_limits(
        self, track: JointPath, step: float, passed: float
    ) -> tuple[PathClock, _Timed]:
        """Rows at most ``step`` seconds apart, through which velocity, acceleration and jerk keep
        their limits from ``passed`` on."""
        acceleration = velocity = np.full(len(self._arm.names), np.inf)
        bound = np.zeros((4, len(self._arm.names)), dtype=bool)
        for attempt in range(_ATTEMPTS):
            clock = PathClock(track, velocity, acceleration, passed)
            count = ceil(clock.end / step - 1e-9)
            self._check_count(count)
            plan_times = clock.plan_times(np.linspace(0.0, clock.end, count, endpoint=False))
            values = track.sample(plan_times)
            # the curve through them comes to rest there one step later, when the path does
            values[-1] = track.joints[-1]
            certificate = certify(_curve(values, clock.end / count).cut(min(passed, clock.end)))
            slower = certificate.stretch(self._limits)
            bound |= certificate.broken(self._limits)
            bound[1:3] |= clock.bound
            if slower == 1:
                break
            # as it is, then as the path's bends ask, then leaving more to the spline through rows
            acceleration = (
                acceleration / (_HARDER * slower**2) if attempt else self._arm.acceleration
            )
            velocity = self._arm.velocity
        return clock, _Timed(clock.end / count * slower, plan_times, values, bound)

    def _check_count(self, count: int) -> None:
        if count > MOST_ROWS:
            raise PlanError(
                f"{self._arm.name}: {count} rows of joints would be needed to keep to the poses; "
                f"at most {MOST_ROWS} are taken. Plan less at once, or keep clear of singularities"
            )

    def _keeps_to(self, path: PosePath, clock: PathClock, timed: _Timed, passed: float) -> bool:
        """Whether the curve through the rows is on the path, at the rows and half-way, and inside
        the joints' ranges, from ``passed`` on."""
        curve = _curve(timed.values, clock.end / len(timed.values))
        if certify(curve.cut(passed)).broken(self._limits)[0].any():
            return False
        times = np.linspace(0.0, clock.end, 2 * len(timed.values) + 1)
        times = times[times >= passed]
        pairs = zip(curve.positions(times), clock.plan_times(times), strict=True)
        for joints, plan_time in pairs:
            error = pose_error(path.pose(plan_time), self._arm.chain.pose_at(joints))
            if not Place(joints, error).within(_DISTANCE, _ANGLE):
                return False
        return True


def _curve(values: np.ndarray, step: float) -> Curve:
    """What the executor makes of rows (M, J)."""
    return interpolate(Plan(0, 0.0, step, values), values.shape[1])
