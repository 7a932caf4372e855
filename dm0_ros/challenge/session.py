# SPDX-License-Identifier: Apache-2.0
"""One job: look, plan, send, until the platform or a limit ends it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from dm0_ros.challenge.clock import ClockOffset, estimate_offset
from dm0_ros.challenge.connection import Time
from dm0_ros.challenge.errors import ForbiddenPayload, PayloadError, Rejected, Unreachable
from dm0_ros.challenge.journal import JobRecord, Journal, Outcome
from dm0_ros.challenge.platform import Condition, Job, Platform, RobotState, Status, View
from dm0_ros.challenge.table import ChallengeTask, ClientSettings, PlatformData
from dm0_ros.challenge.wire import Wire, cut_plan
from dm0_ros.errors import Dm0Error
from dm0_ros.policy.protocol import Observation, Policy

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Work:
    """What a client works with, the same for all jobs of a collection."""

    platform: Platform
    policy: Policy
    wire: Wire
    task: ChallengeTask
    data: PlatformData
    settings: ClientSettings
    journal: Journal
    clock: Time
    tell: Tell

    @property
    def view(self) -> View:
        """What a robot's state is asked for."""
        slots = self.policy.spec.camera_slots
        return View(slots, self.data.picture, self.wire.action_type)


class GivenUp(Exception):
    """A job ended for us. Never leaves this package's client."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


class Patience:
    """Gives up when there was no progress for so long."""

    def __init__(self, limit: float, clock: Time) -> None:
        self._limit = limit
        self._clock = clock
        self._since = clock.now()

    def renew(self) -> None:
        """There was progress."""
        self._since = self._clock.now()

    def spend(self, outcome: Outcome, reason: str) -> None:
        """There was none, for this reason. Raises `GivenUp` with it when it is enough."""
        passed = self._clock.now() - self._since
        if passed >= self._limit:
            raise GivenUp(outcome, f"{reason} (no progress for {passed:.0f} s)")


class Session:
    """One job from its start, or from where a client before left it, to its end."""

    def __init__(self, work: Work, job: Job) -> None:
        self._work = work
        self._job = job
        self._patience = Patience(work.settings.patience, work.clock)
        self._offset = ClockOffset(0.0, 0.0)
        self._sent = -float("inf")  # when the last chunk was sent, by our clock
        self._pending = 0
        self._refused = 0  # chunks in a row
        self._asked = False  # whether the platform has taken our wish to start
        self._record = work.journal.find(job.name) or JobRecord(job.name, job.robot)

    def run(self) -> JobRecord:
        """The record with its outcome. Raises nothing but what the journal's disk raises."""
        try:
            self._begin()
            while True:
                self._advance()
        except GivenUp as end:
            outcome, reason = end.outcome, end.reason
        return self._work.journal.write(self._record, outcome=outcome, reason=reason)

    def _begin(self) -> None:
        """Know the platform's time, and be on record before the job is started."""
        work = self._work
        settings = work.settings
        try:
            self._offset = estimate_offset(
                lambda: work.platform.read_clock(self._job.robot), work.clock,
                settings.clock_probes, settings.probe_pause,
            )  # fmt: skip
        except Unreachable as cause:
            raise GivenUp(Outcome.UNREACHABLE, str(cause)) from cause
        known = self._record.started is not None
        changes = (
            {"resumed": self._record.resumed + 1}
            if known
            else {"started": self._offset.to_theirs(work.clock.now())}
        )
        self._record = work.journal.write(self._record, outcome=None, reason="", **changes)
        work.tell(
            f"{self._job.name}: {'goes on' if known else 'begins'}; clocks are "
            f"{self._offset.offset:.3f} s apart, to within {self._offset.uncertainty:.3f} s"
        )
        work.policy.reset()

    def _advance(self) -> None:
        """One look at the job, and what follows from it. Troubles cost patience."""
        work = self._work
        try:
            status = work.platform.read_job(self._job.name).status
            self._check_end(status)
            if status is Status.READY and not self._asked:
                work.platform.start_job(self._job.name)
                self._asked = True
            if status is not Status.RUNNING:
                self._patience.spend(Outcome.NOT_STARTED, f"the platform says {status.value}")
                work.clock.wait(work.settings.poll)
                return
            self._act(work.platform.read_state(self._record.robot, work.view))
        except ForbiddenPayload as cause:
            raise GivenUp(Outcome.BAD_ANSWERS, str(cause)) from cause
        except (PayloadError, Rejected) as cause:
            self._bear(Outcome.BAD_ANSWERS, str(cause))
        except Unreachable as cause:
            self._bear(Outcome.UNREACHABLE, str(cause))

    def _check_end(self, status: Status) -> None:
        if status.is_over:
            raise GivenUp(Outcome(status.value), "said by the platform")
        work = self._work
        passed = self._offset.to_theirs(work.clock.now()) - self._record.started
        if passed >= work.data.time_limit:
            raise GivenUp(Outcome.TIME_LIMIT, f"{passed:.0f} s since its start")

    def _bear(self, outcome: Outcome, reason: str) -> None:
        self._work.tell(f"{self._job.name}: {reason}")
        self._patience.spend(outcome, reason)
        self._work.clock.wait(self._work.settings.poll)

    def _act(self, state: RobotState) -> None:
        """Send the next chunk, unless the robot cannot take it yet."""
        if state.condition is Condition.SIZE_NONE:
            self._give_up(Outcome.BAD_ANSWERS, "the platform says that our question lacks a size")
        if state.condition is not Condition.NORMAL:
            self._bear(Outcome.ROBOT_FAULT, f"the robot is {state.condition.value}")
        elif state.pending:
            if state.pending != self._pending:
                self._patience.renew()
            self._pending = state.pending
            self._patience.spend(Outcome.ROBOT_FAULT, f"{state.pending} rows stay pending")
            self._work.clock.wait(self._work.settings.poll)
        elif stale := self._find_stale(state):
            self._bear(Outcome.BAD_ANSWERS, stale)
        else:
            self._pending = 0
            self._send(state)

    def _find_stale(self, state: RobotState) -> str:
        """Why an observation is of the past, or nothing."""
        settings = self._work.settings
        taken = self._offset.to_ours(state.stamp)
        age = self._work.clock.now() - taken
        if abs(age) > settings.max_age + self._offset.uncertainty:
            return (
                f"the observation is {age:.2f} s old; up to {settings.max_age:g} s are used, "
                f"and clocks agree to {self._offset.uncertainty:.3f} s"
            )
        if taken + self._offset.uncertainty < self._sent:
            return f"the observation is {self._sent - taken:.2f} s older than the last chunk"
        return ""

    def _send(self, state: RobotState) -> None:
        work = self._work
        rows, duration = self._plan(state)
        self._sent = work.clock.now()
        view = work.view
        try:
            reply = work.platform.send_rows(self._record.robot, view, rows, duration)
        except (Unreachable, PayloadError):
            # Whether the robot has these rows, the next look at it will say.
            doubtful = self._record.doubtful + 1
            self._record = work.journal.write(self._record, doubtful=doubtful)
            raise
        if reply.accepted:
            self._refused = 0
            self._patience.renew()
            self._record = work.journal.write(self._record, chunks=self._record.chunks + 1)
            work.clock.wait(max(0.0, len(rows) * duration - work.settings.poll))
            return
        self._refused += 1
        self._record = work.journal.write(self._record, refusals=self._record.refusals + 1)
        reason = f"chunk refused: {reply.message or 'without a reason'}"
        work.tell(f"{self._job.name}: {reason}")
        if self._refused >= work.settings.refusals:
            self._give_up(Outcome.REFUSED, f"{self._refused} in a row; the last {reason}")
        pause = work.settings.pause * 2 ** (self._refused - 1)
        work.clock.wait(min(pause, work.settings.longest_pause))

    def _plan(self, state: RobotState) -> tuple[list[list[float]], float]:
        """Rows as the platform takes them, and how long each lasts (s)."""
        work = self._work
        stamp = self._offset.to_ours(state.stamp)
        values = work.wire.read_state(state.values)
        observation = Observation(state.pictures, values, work.task.prompt, stamp)
        try:
            plan = work.policy.infer(observation)
        except Dm0Error as cause:
            raise GivenUp(Outcome.POLICY, str(cause)) from cause
        if not np.isfinite(plan.values).all():
            self._give_up(Outcome.POLICY, "the policy planned NaN or infinite set-points")
        spec = work.policy.spec
        rows, duration = cut_plan(plan.values, plan.step, spec, work.task.half_speed)
        slower = work.wire.slow_down(values, rows, duration)
        if slower > duration:
            work.tell(f"{self._job.name}: rows last {slower:.3f} s instead of {duration:.3f} s")
        return work.wire.write_rows(rows), slower

    def _give_up(self, outcome: Outcome, reason: str) -> NoReturn:
        raise GivenUp(outcome, reason)
