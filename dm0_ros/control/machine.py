# SPDX-License-Identifier: Apache-2.0
"""The executor: plans and joint states in, one set-point a tick out, whatever arrives or does not.

It never reads a clock: ``now`` is an argument, in seconds of the clock that plans are stamped in.
"""

import math
from collections.abc import Mapping

import numpy as np

from dm0_ros.control.limiter import Limiter
from dm0_ros.control.limits import Limits
from dm0_ros.control.measurement import Measurement
from dm0_ros.control.plan import Chunk, Coast, Motion, Trajectory
from dm0_ros.control.seam import Fade, Seam
from dm0_ros.control.state import SetPoint, State, Status
from dm0_ros.errors import ObservationError, PlanError
from dm0_ros.robots.spec import RobotSpec

_STALL = 2.0  # of the longest step: a tick this late was kept waiting
_CLOCK_STEP = 0.001  # s that time may seem to go backwards before it counts as a jump
_FURTHEST_START = 5.0  # s: a plan that begins later than this comes from another clock
_REMEMBERED = 0.2  # s for which a limit that was reached stays in the status


class Executor:
    """State machine over a motion, a limiter, and the newest measurement. Not thread-safe."""

    def __init__(self, robot: RobotSpec, seam: Seam, longest_step: float = 1.0) -> None:
        """Begin idle, in epoch 0.

        One set-point never moves further from the one before than the limits allow in
        ``longest_step`` periods, however long ago that was: after a delay it catches up.
        """
        self.names = robot.column_names
        self.state = State.IDLE
        self.reason = "no plan yet"
        self.epoch = 0
        self.dropped = 0
        self._settings = robot.executor
        self._limits = Limits.from_robot(robot)
        self._seam = seam
        self._period = 1.0 / robot.executor.rate
        self._longest_step = longest_step * self._period
        self._measurement = Measurement(self.names, robot.executor.state_timeout)
        self._last_tick: float | None = None
        self._lenient_until = -math.inf  # s: joint states may wait unread after missed ticks
        self._limited: dict[str, float] = {}
        self._forget()

    def _forget(self) -> None:
        """What a reset takes away: plan, set-point, the need for a reset."""
        self._chunk: Chunk | None = None
        self._motion: Motion | None = None
        self._limiter: Limiter | None = None
        self._sequence: int | None = None  # of the newest plan taken in this epoch
        self._seam_size = 0.0
        self._refusal = ""  # why the newest plan was dropped
        self._latched = False  # only a reset helps
        self._idle_when_still = False

    def accept(self, chunk: Chunk, now: float) -> None:
        """Follow a plan from now on.

        Raises `PlanError`, and counts the plan as dropped, where it is refused.
        """
        try:
            self._accept(chunk, now)
        except PlanError as error:
            self.refuse(str(error))
            raise

    def refuse(self, why: str) -> PlanError:
        """Count a plan as dropped; gives the error to raise. For plans that cannot be read."""
        self.dropped += 1
        self._refusal = why
        return PlanError(why)

    def _accept(self, chunk: Chunk, now: float) -> None:
        self._check_turn(chunk)
        values = self._limits.arrange(chunk)
        new = Trajectory(chunk.start, chunk.step, values, self._limits.linear)
        if new.end <= now:
            raise PlanError(
                f"plan {chunk.sequence} ended {now - new.end:.3f} s ago; it came too late"
            )
        if new.start > now + _FURTHEST_START:
            raise PlanError(
                f"plan {chunk.sequence} starts in {new.start - now:.1f} s; check that the clocks "
                "of policy and executor agree"
            )
        try:
            measured = self._measurement.read(now)
        except ObservationError as error:
            raise PlanError(f"plan {chunk.sequence} cannot start: {error}") from error
        self._limits.check_first(new.sample(max(now, new.start))[0], measured)
        self._take_over(chunk, new, measured, now)

    def _check_turn(self, chunk: Chunk) -> None:
        name = f"plan {chunk.sequence} of epoch {chunk.epoch}"
        if self._latched:
            raise PlanError(f"{name}: {self.reason}; reset first")
        if chunk.epoch != self.epoch:
            raise PlanError(f"{name}: the epoch is {self.epoch}")
        if self._sequence is not None and chunk.sequence <= self._sequence:
            raise PlanError(f"{name}: plan {self._sequence} came before it")

    def _take_over(self, chunk: Chunk, new: Trajectory, measured: np.ndarray, now: float) -> None:
        if self._limiter is None:
            self._limiter = Limiter(self._limits, measured)
        if self._last_tick is None:
            self._last_tick = now  # else a clock set back before the first tick went unnoticed
        if self.state is State.EXECUTING:
            old = self._motion
        else:
            pause = max(self._settings.blend_time, self._period)
            old = Coast(now, self._limiter.state, pause)
        begin = max(now, new.start)
        self._seam_size = float(np.abs(new.sample(begin)[0] - old.sample(begin)[0]).max())
        self._motion = self._seam.join(old, new, now, self._limits)
        self._chunk = chunk
        self._sequence = chunk.sequence
        self._idle_when_still = False
        self._refusal = ""
        self._enter(State.EXECUTING, f"following plan {chunk.sequence}")

    def measure(self, positions: Mapping[str, float], stamp: float, now: float) -> None:
        """Take in measured positions by name; a message may hold some of the joints only.

        ``stamp`` is when they were measured; 0 where the driver does not say. A value that is
        not finite is a fault while the arm is commanded.
        """
        broken = self._measurement.update(positions, stamp if stamp else now, now)
        if broken and self.state is not State.IDLE:
            self.fail(broken)

    def tick(self, now: float) -> SetPoint | None:
        """The set-point that is due at ``now``; None while nothing is to be commanded."""
        elapsed = self._measure_gap(now)
        if self._limiter is None:
            return None
        if self.state is State.EXECUTING:
            self._check_measurement(now)
        if elapsed > 0:
            self._step(now, elapsed)
        return None if self._limiter is None else _set_point(now, self._limiter)

    def preview(self, now: float, spacing: float, count: int) -> list[SetPoint]:
        """Where the set-point will be: ``count`` points after ``now``, and one more at rest.

        For controllers that take a stretch of trajectory. Empty while nothing is commanded.
        """
        if self._limiter is None:
            return []
        limiter = self._limiter.copy()
        points = []
        for time in (now + spacing * (index + 1) for index in range(count)):
            if self.state is State.EXECUTING and time < self._motion.end + spacing:
                limiter.follow(self._motion.sample(time), spacing)
            else:
                limiter.brake(spacing)
            points.append(_set_point(time, limiter))
        positions, duration = limiter.stopping_place()
        still = np.zeros_like(positions)
        points.append(SetPoint(points[-1].time + max(duration, spacing), positions, still, still))
        return points

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
        limiter = self._limiter
        self._forget()
        self.epoch += 1
        if limiter is None or limiter.at_rest:
            self._enter(State.IDLE, reason)
            return
        self._limiter = limiter
        self._idle_when_still = True
        self._enter(State.STARVED, reason)

    def status(self, now: float) -> Status:
        """What it does at ``now``, and why."""
        chunk = self._chunk
        limited = (name for name, time in self._limited.items() if now - time <= _REMEMBERED)
        return Status(
            state=self.state,
            reason="; ".join(self._explain(now)),
            needs_reset=self._latched,
            epoch=self.epoch,
            sequence=self._sequence or 0,
            time_left=max(0.0, self._motion.end - now) if self._motion else 0.0,
            observation_age=now - chunk.start if chunk else math.nan,
            seam=self._seam_size,
            limited=tuple(sorted(limited)),
            dropped=self.dropped,
        )

    def _explain(self, now: float) -> list[str]:
        """Why it is in this state, what is missing for a plan, and why one was dropped."""
        reasons = [self.reason]
        try:
            if self.state is State.IDLE:
                self._measurement.read(now)
        except ObservationError as error:
            reasons.append(str(error))
        if self._refusal:
            reasons.append(f"dropped {self._refusal}")
        return reasons

    def _measure_gap(self, now: float) -> float:
        """Seconds to step by: those since the last tick, within reason."""
        elapsed = self._period if self._last_tick is None else now - self._last_tick
        self._last_tick = now
        if elapsed > _STALL * self._longest_step:
            # Whoever kept us from ticking kept us from listening too, for about as long.
            self._lenient_until = now + min(elapsed, self._settings.state_timeout)
        if elapsed >= -_CLOCK_STEP:
            return min(elapsed, self._longest_step)
        self._measurement.forget()
        if self.state not in (State.IDLE, State.FAULT):
            self._halt(State.HOLD, f"the clock stepped back by {-elapsed:.3f} s")
        return self._period

    def _check_measurement(self, now: float) -> None:
        try:
            if now >= self._lenient_until:
                self._measurement.read(now)
        except ObservationError as error:
            self.fail(str(error))

    def _step(self, now: float, dt: float) -> None:
        if self.state is State.EXECUTING:
            self._follow(now, dt)
            return
        self._limiter.brake(dt)
        if self.state is State.STARVED and self._limiter.at_rest:
            self._settle()

    def _follow(self, now: float, dt: float) -> None:
        motion = self._motion
        self._limiter.follow(motion.sample(now), dt)
        for name in self._limiter.binding:
            self._limited[name] = now
        if isinstance(motion, Fade) and now >= motion.done:
            self._motion = motion.new
        if now >= motion.end:
            self._enter(State.STARVED, f"plan {self._sequence} ran out and no newer one came")

    def _settle(self) -> None:
        if self._idle_when_still:
            self._limiter = None
            self._enter(State.IDLE, self.reason)
        else:
            self._enter(State.HOLD, self.reason)

    def _halt(self, state: State, reason: str) -> None:
        """Brake, and let nothing but a reset end it."""
        self._motion = None
        self._chunk = None
        self._latched = True
        self._idle_when_still = False
        self._enter(state, reason)

    def _enter(self, state: State, reason: str) -> None:
        self.state = state
        self.reason = reason


def _set_point(time: float, limiter: Limiter) -> SetPoint:
    positions, velocities, accelerations = limiter.state
    return SetPoint(time, positions, velocities, accelerations)
