# SPDX-License-Identifier: Apache-2.0
"""Whether a chunk may be followed, and when its rows are due, in the executor's own terms.

A row is due as long after its observation as the chunk says, counted in the time in which the
robot was in motion: row 0 of a plan that was observed at rest is due when the next motion begins.
"""

import numpy as np

from dm0_ros.control.clock import Clock
from dm0_ros.control.limits import Limits
from dm0_ros.control.plan import Chunk, Plan
from dm0_ros.control.watch import Watch
from dm0_ros.errors import ObservationError, PlanError
from dm0_ros.robots.spec import ExecutorSettings

_FURTHEST_START = 5.0  # s: a plan that begins later than this comes from another clock


class Intake:
    """Looks at chunks; changes nothing."""

    def __init__(
        self, limits: Limits, settings: ExecutorSettings, clock: Clock, watch: Watch
    ) -> None:
        self._limits, self._settings = limits, settings
        self._clock, self._watch = clock, watch

    def plan_time(self, stamp: float, now: float) -> float:
        """Plan time at which a row that belongs to ``stamp`` is to be commanded.

        A picture is stamped later than what it shows by the observation latency, and the arm is
        where it was told to be later by the actuation latency: both make the command earlier.
        """
        lead = self._settings.observation_latency + self._settings.actuation_latency
        return self._clock.plan_time(stamp - lead, now)

    def read(self, chunk: Chunk, now: float) -> tuple[Plan, tuple[str, ...]]:
        """The chunk as a plan, and the limits that it was changed for: of position, and earlier.

        Raises `PlanError` where the chunk makes no sense, or came at the wrong time.
        """
        values, clamped = self._limits.clamp(self._limits.arrange(chunk))
        name = f"plan {chunk.sequence}"
        if chunk.start > now + _FURTHEST_START:
            raise PlanError(
                f"{name} starts in {chunk.start - now:.1f} s; check that the clocks of policy and "
                "executor agree"
            )
        if why := self._watch.outdated(chunk.start, now):
            raise PlanError(f"{name} {why}")
        plan = Plan(chunk.sequence, self.plan_time(chunk.start, now), chunk.step, values)
        late = max(self._clock.due - plan.end, now - chunk.start - len(values) * chunk.step)
        if late >= 0:
            raise PlanError(f"{name} ended {late:.3f} s ago; it came too late")
        named = zip(self._limits.names, clamped, strict=True)
        beyond = tuple(f"{name}: position" for name, out in named if out)
        return plan, chunk.limited + beyond

    def measured(self, chunk: Chunk, now: float) -> np.ndarray:
        """Where the robot is (D,), for a chunk that is to move it.

        Raises `PlanError` where that is not known.
        """
        try:
            return self._watch.measured(now)
        except ObservationError as error:
            raise PlanError(f"plan {chunk.sequence} cannot start: {error}") from error

    def check_first(self, chunk: Chunk, plan: Plan, commanding: bool) -> None:
        """Refuse a plan whose row 0 is far from where the robot was when the plan was observed.

        What is due by now may be far from where the robot is: it goes there within its limits.
        While nothing is commanded, the robot may have been moved by others since, and what counts
        is where it is.
        """
        when = chunk.start if commanding else np.inf
        self._limits.check_first(plan.values[0], self._watch.seen(when))
