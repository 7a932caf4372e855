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
from dm0_ros.control.pose import MOST_ROWS, PosePath, read_plan
from dm0_ros.control.pose_timing import JointPath, PathClock, join_paths
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

    @property
    def limited(self) -> tuple[str, ...]:
        """Limits that bind: "<joint>: <limit>"."""
        return self.chunk.limited


_Paths = tuple[PosePath, ...]  # one for each arm


class _Timed(NamedTuple):
    """Rows of joints in time."""

    step: float  # s
    plan_times: np.ndarray  # (M,) s
    values: np.ndarray  # (M, J) rad
    bound: np.ndarray  # (4, J) bool: limits that bind, as of a `Certificate`


class PoseSolver:
    """Makes plans of joints of the plans of poses for all arms of a robot, which keep in step.

    Same input, same output. Not thread-safe.
    """

    def __init__(self, robot: RobotSpec) -> None:
        """Raises `RobotError` where the robot has joints that no end effector would move, or that
        several would."""
        self._name = robot.name
        self._arms = tuple(Arm(robot, end) for end in robot.end_effectors)
        moved = [name for arm in self._arms for name in arm.names]
        if sorted(moved) != sorted(robot.joint_names):
            ends = ", ".join(arm.name for arm in self._arms) or "no end effector"
            raise RobotError(
                f"{robot.name}: a plan of poses ({ends}) gives set-points for {', '.join(moved)}, "
                f"but the robot's joints are {', '.join(robot.joint_names)}; use a layout of "
                "joints"
            )
        names = robot.joint_names
        self._columns = tuple(np.array([names.index(n) for n in arm.names]) for arm in self._arms)
        self._limits = Limits.from_robot(robot)
        self._velocity = self._limits.velocity[self._limits.arm]
        self._acceleration = self._limits.acceleration[self._limits.arm]
        self._names, self._grippers = robot.column_names, robot.gripper_names
        self._hold = np.array([g.mode is GripperMode.HOLD for g in robot.grippers], dtype=bool)

    def solve(self, chunk: Chunk, joints: np.ndarray, passed: float = 0.0) -> Solution:
        """Turn a chunk in space EEF_POSE into one in space JOINT_POSITION.

        ``joints`` (D,) are the set-points at present, in the robot's order of columns: the
        configuration near which the solution stays. The first ``passed`` seconds of the plan are
        over already; none where that is negative. For the columns see `read_plan`.

        The solution passes every pose to within 1 mm and 0.2 degrees, at its time or later: where
        joints would exceed their limits, time is stretched, for all arms alike.

        Raises `PlanError` that names the row and the reason, where a pose is out of reach or only
        to be had by a leap of the joints.
        """
        plan = read_plan(chunk, [arm.name for arm in self._arms], self._grippers)
        paths = tuple(PosePath(rows, chunk.step) for rows in plan.arms)
        present = np.asarray(joints, np.float64)[self._limits.arm]
        if not np.isfinite(present).all():
            raise PlanError(f"{self._name}: the present joint positions are not finite")
        step = chunk.step / ceil(chunk.step / _LARGEST_STEP - 1e-9)
        timed = self._time(paths, present, step, max(0.0, passed))
        plan_times, limited = timed.plan_times, explain(timed.bound, self._limits)
        openings = self._openings(plan.grippers, plan_times / chunk.step)
        solved = replace(
            chunk,
            space=Space.JOINT_POSITION,
            step=timed.step,
            names=self._names,
            values=np.hstack([timed.values, openings]),
            limited=limited,
        )
        delay = max(0.0, timed.step * len(timed.values) - paths[0].end) if limited else 0.0
        return Solution(solved, plan_times, delay)

    def _openings(self, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Openings (M, G) of rows (H, G) at ``places`` (M,), in rows: each in its own mode."""
        last = len(rows) - 1
        due = rows[np.clip(np.floor(places + _ROUNDING).astype(int), 0, last)]
        straight = [np.interp(places, np.arange(last + 1), column) for column in rows.T]
        return np.where(self._hold, due, np.transpose(straight)) if straight else due

    def _time(self, paths: _Paths, present: np.ndarray, step: float, passed: float) -> _Timed:
        """Rows at most ``step`` seconds apart, and closer where a path demands it."""
        while True:
            track = self._trace(paths, present, step)
            clock, timed = self._within_limits(track, step, passed)
            if self._keeps_to(paths, clock, timed, min(passed, clock.end)):
                return timed
            step /= 2

    def _trace(self, paths: _Paths, present: np.ndarray, step: float) -> JointPath:
        """All joints along the paths of their arms."""
        tracks = []
        for arm, columns, path in zip(self._arms, self._columns, paths, strict=True):
            try:
                tracks.append(trace(arm, path, present[columns], step))
            except PlanError:
                # on its way home a free elbow may get where the tip cannot go on
                tracks.append(trace(arm, path, present[columns], step, relax=False))
        return join_paths(tracks, self._columns)

    def _within_limits(
        self, track: JointPath, step: float, passed: float
    ) -> tuple[PathClock, _Timed]:
        """Rows at most ``step`` seconds apart, through which velocity, acceleration and jerk keep
        their limits from ``passed`` on."""
        acceleration = velocity = np.full_like(self._velocity, np.inf)
        bound = np.zeros((4, len(self._velocity)), dtype=bool)
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
            acceleration = acceleration / (_HARDER * slower**2) if attempt else self._acceleration
            velocity = self._velocity
        return clock, _Timed(clock.end / count * slower, plan_times, values, bound)

    def _check_count(self, count: int) -> None:
        if count > MOST_ROWS:
            raise PlanError(
                f"{self._name}: {count} rows of joints would be needed to keep to the poses; "
                f"at most {MOST_ROWS} are taken. Plan less at once, or keep clear of singularities"
            )

    def _keeps_to(self, paths: _Paths, clock: PathClock, timed: _Timed, passed: float) -> bool:
        """Whether the curve through the rows is on the paths, at the rows and half-way, and inside
        the joints' ranges, from ``passed`` on."""
        curve = _curve(timed.values, clock.end / len(timed.values))
        if certify(curve.cut(passed)).broken(self._limits)[0].any():
            return False
        times = np.linspace(0.0, clock.end, 2 * len(timed.values) + 1)
        times = times[times >= passed]
        positions, plan_times = curve.positions(times), clock.plan_times(times)
        for arm, columns, path in zip(self._arms, self._columns, paths, strict=True):
            for joints, plan_time in zip(positions[:, columns], plan_times, strict=True):
                error = pose_error(path.pose(plan_time), arm.chain.pose_at(joints))
                if not Place(joints, error).within(_DISTANCE, _ANGLE):
                    return False
        return True


def _curve(values: np.ndarray, step: float) -> Curve:
    """What the executor makes of rows (M, J)."""
    return interpolate(Plan(0, 0.0, step, values), values.shape[1])
