# SPDX-License-Identifier: Apache-2.0
"""The executor: plans and joint states in, one set-point a tick out, whatever arrives or does not.

It never reads a clock: ``now`` is an argument, in seconds of the clock that plans are stamped in.
"""

import math
from collections.abc import Mapping

import numpy as np

from dm0_ros.control.draft import Draft
from dm0_ros.control.intake import Intake
from dm0_ros.control.limits import Limits
from dm0_ros.control.plan import Chunk
from dm0_ros.control.seam import Seam
from dm0_ros.control.state import Lately, SetPoint, State, Status
from dm0_ros.control.tracker import Tracker
from dm0_ros.control.watch import Watch
from dm0_ros.errors import ObservationError, PlanError
from dm0_ros.robots.spec import RobotSpec

_SLOWEST = 0.01  # pace


class Executor:
    """State machine over a set-point and the newest measurement. Not thread-safe."""

    def __init__(self, robot: RobotSpec, seam: Seam, longest_step: float = 1.0) -> None:
        """Begin idle, in epoch 0.

        One set-point never moves further from the one before than the limits allow in
        ``longest_step`` periods, however long ago that was: a delay makes it late, not fast.
        """
        self.names = robot.column_names
        self.state = State.IDLE
        self.reason = "no plan yet"
        self.epoch = 0
        self.dropped = 0
        self._settings = robot.executor
        longest = longest_step / robot.executor.rate
        self._tracker = Tracker(robot, seam, longest)
        self._watch = Watch(self.names, robot.executor, longest)
        self._intake = Intake(
            Limits.from_robot(robot), robot.executor, self._tracker.clock, self._watch
        )
        self._limited = Lately()
        self._forget()

    def _forget(self) -> None:
        """What a reset takes away: plan, the need for a reset."""
        self._chunk: Chunk | None = None
        self._sequence: int | None = None  # of the newest plan taken in this epoch
        self._seam_size = 0.0
        self._refusal = ""  # why the newest plan was dropped
        self._latched = False  # only a reset helps
        self._idle_when_still = False
        self._tracker.forget_plans()

    def accept(self, chunk: Chunk, now: float) -> None:
        """Follow a plan from now on.

        Raises `PlanError`, and counts the plan as dropped, where it is refused.
        """
        try:
            draft = self.consider(chunk, now)
            if draft is not None:
                draft.design()
                self.adopt(draft, now)
        except PlanError as error:
            self.refuse(str(error))
            raise

    def refuse(self, why: str) -> PlanError:
        """Count a plan as dropped; gives the error to raise. For plans that cannot be read."""
        self.dropped += 1
        self._refusal = why
        return PlanError(why)

    def consider(self, chunk: Chunk, now: float, ahead: float = 0.0) -> Draft | None:
        """Check a plan; gives the draft of a motion that leaves the present one ``ahead`` s later.

        With `Draft.design` and `adopt`, `accept` in three steps, of which the second, the long
        one, touches nothing of this executor. None where the arm first approaches the plan.
        Raises `PlanError`, without counting it.
        """
        self._check_turn(chunk)
        plan, bound = self._intake.read(chunk, now)
        measured = self._intake.measured(chunk, now)
        draft = self._tracker.draft(chunk, plan, measured, ahead)
        draft.bound = bound
        try:
            self._intake.check_first(chunk, plan, self._tracker.active)
        except PlanError:
            if not self._settings.approach or self._tracker.moving:
                raise
            self._approach(chunk, plan.values[0], measured, now)
            return None
        return draft

    def outlook(self, chunk: Chunk, now: float) -> tuple[np.ndarray, float]:
        """For solving a plan before `consider`: set-points (D,), and how much of it (s) is over.

        Measured ones while nothing is commanded. Raises `PlanError`, without counting it.
        """
        self._check_turn(chunk)
        present = self._tracker.present(self._intake.measured(chunk, now))
        return present, self._tracker.clock.due - self._intake.plan_time(chunk.start, now)

    def adopt(self, draft: Draft, now: float) -> None:
        """Follow a draft that is designed; a new one where it came too late.

        Raises `PlanError`, without counting it, where that is refused.
        """
        chunk = draft.chunk
        self._check_turn(chunk)
        if not self._tracker.adopt(draft):
            draft = self.consider(chunk, now)
            if draft is None:
                return
            draft.design()
            self._tracker.adopt(draft)
        self._seam_size = draft.distance
        self._start(chunk, now)
        self._enter(State.EXECUTING, f"following plan {chunk.sequence}")

    def _check_turn(self, chunk: Chunk) -> None:
        name = f"plan {chunk.sequence} of epoch {chunk.epoch}"
        if self._latched:
            raise PlanError(f"{name}: {self.reason}; reset first")
        if chunk.epoch != self.epoch:
            raise PlanError(f"{name}: the epoch is {self.epoch}")
        if self._sequence is not None and chunk.sequence <= self._sequence:
            why = f"plan {self._sequence} came before it; count on from executor_status, or reset"
            raise PlanError(f"{name}: {why}")
        if self.state is State.APPROACH:
            raise PlanError(f"{name}: the arm is still {self.reason}")

    def _approach(self, chunk: Chunk, first: np.ndarray, measured: np.ndarray, now: float) -> None:
        try:
            self._tracker.approach(first, measured)
        except ValueError as error:
            raise PlanError(f"plan {chunk.sequence}: its first row: {error}") from error
        self._start(chunk, now)
        self._enter(State.APPROACH, f"moving slowly to the first row of plan {chunk.sequence}")

    def _start(self, chunk: Chunk, now: float) -> None:
        """What every plan that moves the arm begins with."""
        self._watch.begin(now)
        self._chunk, self._sequence = chunk, chunk.sequence
        self._idle_when_still = False
        self._refusal = ""

    def measure(self, positions: Mapping[str, float], stamp: float, now: float) -> None:
        """Take in measured positions by name; a message may hold some of the joints only.

        ``stamp`` is when they were measured; 0 where the driver does not say. A value that is
        not finite is a fault while the arm is commanded.
        """
        broken = self._watch.update(positions, stamp, now)
        if broken and self.state is not State.IDLE:
            self.fail(broken)

    def tick(self, now: float) -> SetPoint | None:
        """The set-point that is due at ``now``; None while nothing is to be commanded."""
        self._advance(now)
        tracker = self._tracker
        if not tracker.active:
            return None
        if self.state in (State.EXECUTING, State.APPROACH):
            self._check_age(now)
        tracker.step()
        self._limited.note(tracker.limited(), now)
        point = tracker.point(now)
        self._progress()
        return point

    def preview(self, now: float, spacing: float, count: int) -> list[SetPoint]:
        """Where the set-point will be: ``count`` points after ``now``, and one more at rest.

        For controllers that take a stretch of trajectory. Empty while nothing is commanded.
        """
        return self._tracker.preview(now, spacing, count) if self._tracker.active else []

    def committed(self, start: float, step: float, rows: int, now: float) -> np.ndarray:
        """What was or will be commanded at ``start + k * step``: (n, D), n <= ``rows``.

        It ends where the motion does, and is empty where it does not reach back to ``start``.
        """
        return self._tracker.rows(self._intake.plan_time(start, now), step, rows)

    def scale(self, rate: float) -> None:
        """Follow plans at ``rate`` of their pace, 0 to 1, as robots with a speed slider do.

        Below a hundredth they pause.
        """
        if not 0 <= rate <= 1:
            raise ValueError(f"a pace of {rate}; it must be within 0 and 1")
        self._tracker.scale(rate if rate >= _SLOWEST else 0.0)

    def stop(self, reason: str) -> None:
        """Brake and hold. Plans are refused until `reset`."""
        if self.state is not State.FAULT:
            self._halt(State.HOLD, reason)

    def fail(self, reason: str) -> None:
        """Brake and hold, because something is wrong. Plans are refused until `reset`."""
        if self.state is not State.FAULT:
            self._halt(State.FAULT, reason)

    def reset(self, reason: str) -> None:
        """Begin a new epoch, idle: older plans are void, and nothing is commanded any more.

        A set-point that still moves is brought to rest first.
        """
        halted = self._latched
        self._forget()
        self.epoch += 1
        tracker = self._tracker
        if tracker.active and not halted:
            tracker.brake()
        if not tracker.active or tracker.still:
            self._release()
            self._enter(State.IDLE, reason)
            return
        self._idle_when_still = True
        self._enter(State.STARVED, reason)

    def status(self, now: float) -> Status:
        """What it does at ``now``, and why."""
        chunk = self._chunk
        return Status(
            state=self.state,
            reason="; ".join(self._explain(now)),
            needs_reset=self._latched,
            epoch=self.epoch,
            sequence=self._sequence or 0,
            time_left=self._tracker.time_left if chunk else 0.0,
            observation_age=now - chunk.start if chunk else math.nan,
            seam=self._seam_size,
            limited=self._limited.names(now),
            dropped=self.dropped,
        )

    def _explain(self, now: float) -> list[str]:
        """Why it is in this state, what is missing for a plan, and why one was dropped."""
        reasons = [self.reason]
        try:
            if self.state is State.IDLE:
                self._watch.measured(now)
        except ObservationError as error:
            reasons.append(str(error))
        if self._refusal:
            reasons.append(f"dropped {self._refusal}")
        return reasons

    def _advance(self, now: float) -> None:
        """Let the time pass that did since the last tick."""
        elapsed = self._watch.tick(now)
        if elapsed < 0 and self.state not in (State.IDLE, State.FAULT):
            self._halt(State.HOLD, f"the clock stepped back by {-elapsed:.3f} s")
        self._tracker.advance(elapsed, now)

    def _check_age(self, now: float) -> None:
        """Brake where joint states are too old, or the plan is."""
        if why := self._watch.missing(now):
            self.fail(why)
        elif self.state is State.EXECUTING and (
            why := self._watch.outdated(self._chunk.start, now)
        ):
            self._tracker.brake()
            self._enter(State.STARVED, f"plan {self._sequence} {why}, and no newer one came")

    def _progress(self) -> None:
        """What follows from the motion's end."""
        tracker = self._tracker
        if self.state is State.EXECUTING and tracker.finished:
            self._enter(State.STARVED, f"plan {self._sequence} ran out and no newer one came")
        elif self.state is State.APPROACH and tracker.still:
            self._enter(State.HOLD, f"at the first row of plan {self._sequence}; plan again")
        elif self.state is State.STARVED and tracker.still:
            if self._idle_when_still:
                self._release()
            self._enter(State.HOLD if tracker.active else State.IDLE, self.reason)

    def _release(self) -> None:
        self._tracker.release()
        self._watch.release()

    def _halt(self, state: State, reason: str) -> None:
        """Brake, and let nothing but a reset end it."""
        if self._tracker.active and not self._latched:
            self._tracker.brake()
        self._chunk, self._latched, self._idle_when_still = None, True, False
        self._enter(state, reason)

    def _enter(self, state: State, reason: str) -> None:
        self.state, self.reason = state, reason
