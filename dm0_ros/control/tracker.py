# SPDX-License-Identifier: Apache-2.0
"""The set-point: where it is now, the motion that it is on, and what that will be.

Every motion that gets in here has been checked to keep every limit and to end at rest, so a tick
has nothing to decide: it samples.
"""

from collections import deque
from itertools import product
from typing import NamedTuple

import numpy as np

from dm0_ros.control.certificate import certify
from dm0_ros.control.clock import Clock, Pace, retime
from dm0_ros.control.curve import Curve
from dm0_ros.control.draft import Draft
from dm0_ros.control.grippers import Grippers
from dm0_ros.control.limits import Limits
from dm0_ros.control.plan import Chunk, Plan
from dm0_ros.control.seam import Seam
from dm0_ros.control.state import SetPoint
from dm0_ros.control.transit import brake, travel
from dm0_ros.robots.spec import RobotSpec

_PACE_CHANGES = (0.25, 0.5, 1.0, 2.0, 4.0)  # s: the first is tried that keeps the limits
_FIRST_SHARES = (1.0, 0.7, 0.4)  # of the wanted pace, which is tried again on the way
_RETRY = 0.1  # s between attempts to change the pace
_APPROACH = 0.1  # of all limits
_REMEMBERED = 2.0  # s of set-points that were commanded


class Point(NamedTuple):
    """What was commanded, and when."""

    due: float  # s of plan time
    positions: np.ndarray  # (D,)


class Tracker:
    """Not thread-safe. Times are own time (motion) and plan time (path), see `clock`."""

    def __init__(self, robot: RobotSpec, seam: Seam, longest_step: float) -> None:
        """Stand nowhere yet; see `begin`."""
        period = 1.0 / robot.executor.rate
        self.clock = Clock(period, longest_step)
        self.limits = Limits.from_robot(robot)
        self.bound: tuple[str, ...] = ()  # limits that changed the motion under way
        self._seam = seam
        self._grippers = Grippers(robot)
        self._arm = self.limits.arm
        self._scale = 1.0  # of the pace, as wanted
        self._retry = 0.0  # s of own time
        self._commanded: deque[Point] = deque(maxlen=int(_REMEMBERED / period))
        self.release()

    def release(self) -> None:
        """Command nothing, and know no plans."""
        self._path: Curve | None = None  # by plan time
        self._motion: Curve | None = None  # by own time
        self._recent: list[Plan] = []
        self._commanded.clear()
        self.bound = ()

    def forget_plans(self) -> None:
        """Let no earlier plan count for the next one."""
        self._recent = []

    @property
    def active(self) -> bool:
        """Whether there is a set-point."""
        return self._motion is not None

    @property
    def finished(self) -> bool:
        """Whether the arm's motion has come to its end; a pause is none."""
        return self.clock.time >= self._motion.end and self.clock.pace.after > 0

    @property
    def still(self) -> bool:
        """Whether nothing moves, nor will."""
        return self.finished and self._grippers.still

    @property
    def moving(self) -> bool:
        """Whether the arm moves at this moment."""
        return self.active and bool(self._motion.sample(self.clock.time)[1:].any())

    @property
    def resting(self) -> bool:
        """Whether nothing is commanded, or nothing is left to come: plan time stands."""
        if not self.active:
            return True
        due = self.clock.due
        return self.finished and due >= self._path.end and self._grippers.played(due)

    @property
    def time_left(self) -> float:
        """Seconds of plan time until the end of the path; 0 without one."""
        return max(0.0, self._path.end - self.clock.due) if self._path else 0.0

    def present(self, measured: np.ndarray) -> np.ndarray:
        """The set-points (D,) at the clock's time; without any, ``measured`` (D,)."""
        if not self.active:
            return measured
        arm = self._motion.sample(self.clock.time)[0]
        return np.concatenate([arm, self._grippers.positions])

    def begin(self, positions: np.ndarray) -> None:
        """Stand still at ``positions`` (D,), as measured."""
        self._path = Curve.still(positions[self._arm], self.clock.due)
        self._motion = Curve.still(positions[self._arm], self.clock.time)
        self._grippers.begin(positions[self.limits.joints :])
        self.clock.pace = Pace(self.clock.time, self.clock.due, 1.0, 1.0, 0.0)

    def draft(self, chunk: Chunk, plan: Plan, measured: np.ndarray, ahead: float) -> Draft:
        """What it takes to design the motion onto ``plan``, from ``ahead`` seconds later on.

        ``measured`` (D,) is where that begins while nothing is commanded. Raises `PlanError`
        where the seam refuses the plan.
        """
        clock, path = self.clock, self._path
        time, due, pace = clock.time, clock.due, clock.pace
        if path is None:
            path = Curve.still(measured[self._arm], due)
        if not self.moving:
            pace = Pace(time, due, self._scale, self._scale, 0.0)
        begin = pace.at(time + ahead)[0]
        busy = path.end if self._recent else -np.inf
        recent = [] if self.resting else self._recent  # what they wanted for later is over
        prepared = self._seam.prepare(plan, recent, busy, begin)
        return Draft(
            chunk=chunk,
            plan=plan,
            prepared=prepared,
            measured=measured,
            seam=self._seam,
            limits=self.limits.including(path.sample(begin)[0]),
            time=time,
            due=due,
            until=time + ahead,
            begin=begin,
            pace=pace,
            base=self._motion,
            path=path,
        )

    def adopt(self, draft: Draft) -> bool:
        """Follow a draft that is designed; False where it is too late, or no longer fits."""
        clock = self.clock
        if self._motion is not draft.base or clock.time > draft.until:
            return False
        if not self.active:
            self.begin(draft.measured)
        if self.resting:
            self.forget_plans()
        self._path, self._motion, self.bound = draft.path, draft.motion, draft.bound
        clock.pace = draft.pace
        self._grippers.follow(draft.prepared, max(draft.begin, draft.prepared.start))
        self._recent = [one for one in self._recent[-7:] if one.end > clock.due] + [draft.plan]
        return True

    def approach(self, goal: np.ndarray, measured: np.ndarray) -> None:
        """Move slowly to ``goal`` (D,), from rest; raises `ValueError` where no way is found."""
        time = self.clock.time
        start = self._motion or Curve.still(measured[self._arm], time)
        way = travel(start.sample(time), goal[self._arm], time, self.limits, _APPROACH)
        if not self.active:
            self.begin(measured)
        self._leave(way)
        self.forget_plans()

    def brake(self) -> None:
        """Come to rest along the present velocity; grippers stay as they are."""
        self._leave(brake(self._motion, self.clock.time, self.limits))

    def advance(self, elapsed: float, now: float) -> None:
        """See `Clock.advance`."""
        self.clock.advance(elapsed, now, self.resting)

    def scale(self, rate: float) -> None:
        """Follow plans at ``rate``, 0..1, of their pace, as soon as the limits allow it."""
        self._scale = rate
        self._retry = self.clock.time

    def step(self) -> None:
        """Go on to the clock's time."""
        clock = self.clock
        if self._scale != clock.pace.after and clock.time >= max(clock.pace.done, self._retry):
            self._change_pace()
        if clock.step > 0:
            self._grippers.step(clock.due, clock.step)

    def point(self, now: float) -> SetPoint:
        """The set-point at the clock's time."""
        point = _set_point(now, self._motion.sample(self.clock.time), self._grippers)
        self._commanded.append(Point(self.clock.due, point.positions))
        return point

    def preview(self, now: float, spacing: float, count: int) -> list[SetPoint]:
        """``count`` set-points after ``now``, and one more at rest."""
        points, grippers = [], self._grippers.copy()
        time = self.clock.time
        for index in range(count):
            time += spacing
            grippers.step(self.clock.pace.at(time)[0], spacing)
            points.append(
                _set_point(now + spacing * (index + 1), self._motion.sample(time), grippers)
            )
        stop = brake(self._motion.cut(time), time, self.limits)
        pause = max(stop.end - time, spacing)
        points.append(_set_point(points[-1].time + pause, stop.sample(stop.end), grippers, True))
        return points

    def rows(self, begin: float, step: float, count: int) -> np.ndarray:
        """What was or will be commanded from plan time ``begin`` on: (n, D), n <= ``count``."""
        found = []
        for row in range(count):
            positions = self._positions(begin + row * step)
            if positions is None:
                break
            found.append(positions)
        return np.array(found).reshape(len(found), len(self.limits.names))

    def limited(self) -> tuple[str, ...]:
        """Limits that bind at this moment: "<joint>: <limit>"."""
        arm = () if self.clock.time >= self._motion.end else self.bound
        return (*arm, *self._grippers.limited())

    def _positions(self, due: float) -> np.ndarray | None:
        """One of the rows (D,); None where it is not known."""
        if not self.active or due > self._path.end:
            return None
        if due > self.clock.due:
            return np.concatenate([self._path.sample(due)[0], self._grippers.wanted(due)])
        earlier, later = None, None
        for point in reversed(self._commanded):
            if point.due <= due:
                earlier = point
                break
            later = point
        if earlier is None or later is None:
            return earlier.positions if earlier else None
        share = (due - earlier.due) / (later.due - earlier.due)
        return earlier.positions + share * (later.positions - earlier.positions)

    def _leave(self, motion: Curve) -> None:
        """Leave the path for a motion of own time, at full pace."""
        clock = self.clock
        self.clock.pace = Pace(clock.time, clock.due, 1.0, 1.0, 0.0)
        self._motion = motion
        self._path = motion.shifted(clock.due - clock.time)
        self._grippers.stay()
        self.bound = ()

    def _change_pace(self) -> None:
        clock = self.clock
        due, rate, _ = clock.pace.at(clock.time)
        self._retry = clock.time + _RETRY
        position, *rates = self._path.sample(due)
        limits = self.limits.including(position)
        durations = _PACE_CHANGES if np.any(rates) else (0.0, *_PACE_CHANGES)
        # From a standstill plan time does not go on to where a change is easier.
        shares = (1.0,) if rate > 0 else _FIRST_SHARES
        for share, duration in product(shares, durations):
            pace = Pace(clock.time, due, rate, share * self._scale, duration)
            motion = retime(self._path, pace, clock.time)
            if not certify(motion).broken(limits).any():
                self._motion = motion
                self.clock.pace = pace
                return


def _set_point(
    time: float, arm: np.ndarray, grippers: Grippers, at_rest: bool = False
) -> SetPoint:
    joints = arm.shape[1]
    state = np.zeros((3, joints + len(grippers.positions)))
    state[:, :joints] = arm
    state[0, joints:] = grippers.positions
    if not at_rest:
        state[1, joints:] = grippers.velocities
    return SetPoint(time, state[0], state[1], state[2])
