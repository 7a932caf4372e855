# SPDX-License-Identifier: Apache-2.0
"""The two times that the executor lives in, beside that of its caller.

Its *own time* passes as the caller's does, but in no tick by more than the longest step, and never
back: set-points are smooth in it whatever the scheduler or the clock does. *Plan time* is what
plans are followed by: it passes as own time does, or slower where the robot's speed is scaled, and
not at all while the robot rests. So row 0 of a plan that was observed at rest is due when the next
motion begins, however long the plan took to come.
"""

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from dm0_ros.control.curve import Curve, hermite

_KEPT = 10_000  # ticks for which plan time is remembered: 10 s at 1 kHz
_KNOT = 0.01  # s between the states that a change of pace passes through exactly


@dataclass(frozen=True)
class Pace:
    """Plan time as a function of own time: its rate goes from one value to another, smoothly."""

    begin: float  # s of own time
    due: float  # s of plan time at the begin
    before: float  # rate, 0..1
    after: float
    duration: float  # s of own time that the change takes

    @property
    def done(self) -> float:
        """Own time from which on the rate is steady."""
        return self.begin + self.duration

    def at(self, time: float) -> tuple[float, float, float]:
        """Plan time, its rate, and how fast the rate changes (1/s), at an own time."""
        passed = time - self.begin
        change = self.after - self.before
        if passed >= self.duration:
            middle = self.due + (self.before + change / 2) * self.duration
            return middle + self.after * (passed - self.duration), self.after, 0.0
        x = passed / self.duration
        area = x**4 * (2.5 - 3 * x + x * x) * self.duration
        rate = self.before + change * x**3 * (10 - 15 * x + 6 * x * x)
        slope = change * 30 * (x * (1 - x)) ** 2 / self.duration
        return self.due + self.before * passed + change * area, rate, slope


def retime(path: Curve, pace: Pace, time: float) -> Curve:
    """A path of plan time as a motion of own time, from ``time`` on.

    While the rate changes, the motion passes through the exact states a hundred times a second,
    with quintics between; then it is the path itself, slower. At a rate of zero it stands still.
    """
    pieces, begins = [], np.zeros(0)
    begin = time
    if time < pace.done:
        begins, states = _states(path, pace, time)
        pieces = [
            hermite(first, second, step)
            for first, second, step in zip(states, states[1:], np.diff(begins), strict=False)
        ]
        begin, begins = pace.done, begins[:-1]
    due = pace.at(begin)[0]
    rest = path.cut(due)
    rest = rest.stretched(1 / pace.after) if pace.after > 0 else _pause(path, due)
    rest = rest.shifted(begin - due)
    if not pieces:
        return rest
    return Curve(
        np.concatenate([begins, rest.begins]),
        np.concatenate([np.stack(pieces), rest.coefficients]),
        rest.end,
    )


def _pause(path: Curve, due: float) -> Curve:
    return Curve.still(path.sample(due)[0], due)


def _states(path: Curve, pace: Pace, time: float) -> tuple[np.ndarray, np.ndarray]:
    """Own times (n,) to the end of the change, and the states (n, 3, D) there."""
    count = 1 + int(np.ceil((pace.done - time) / _KNOT))
    times = np.linspace(time, pace.done, count + 1)
    states = []
    for moment in times:
        due, rate, slope = pace.at(moment)
        position, velocity, acceleration = path.sample(due)
        states.append((position, velocity * rate, acceleration * rate * rate + velocity * slope))
    return times, np.array(states)


class Clock:
    """Own time, and which plan time belonged to which time of the caller."""

    def __init__(self, period: float, longest: float) -> None:
        """Steps are ``longest`` seconds at most; one of a clock set back counts ``period``."""
        self._period = period
        self._longest = longest
        self.time = 0.0  # s of own time
        self.step = 0.0  # s of own time that the last tick took
        self.pace = Pace(0.0, 0.0, 1.0, 1.0, 0.0)
        self._resting = True  # as of the last tick
        self.forget()

    def forget(self) -> None:
        """Know nothing of the caller's time."""
        self._stamps: list[float] = []
        self._dues: list[float] = []

    @property
    def due(self) -> float:
        """Plan time now."""
        return self.pace.at(self.time)[0]

    def advance(self, elapsed: float, now: float, resting: bool) -> None:
        """Go on by what passed since the last tick (s); negative where the clock was set back.

        While the robot is ``resting``, own time passes and plan time stands.
        """
        due = self.due
        self.step = min(elapsed, self._longest)
        if elapsed < 0:
            self.forget()
            self.step = self._period
        self.time += self.step
        self._resting = resting
        if resting:
            self.pace = Pace(self.time, due, self.pace.after, self.pace.after, 0.0)
        self._note(now, self.due)

    def plan_time(self, stamp: float, now: float) -> float:
        """Plan time that belongs to a ``stamp`` of the caller's time, who says that it is ``now``.

        Time in which nothing was commanded, because no tick came, is not counted, nor is what was
        before the first tick that is remembered.
        """
        if not self._stamps:
            self._note(now, self.due)
        stamps, dues = self._stamps, self._dues
        if stamp >= stamps[-1]:
            passed, rate = now - stamps[-1], self.pace.at(self.time)[1]
            moved = min(passed, self._longest)
            if stamp > now or passed <= 0:
                return dues[-1] + rate * (moved + stamp - now)
            if self._resting:
                return dues[-1]
            return dues[-1] + rate * moved * (stamp - stamps[-1]) / passed
        index = bisect_right(stamps, stamp)
        if index == 0:
            return dues[0]
        share = (stamp - stamps[index - 1]) / (stamps[index] - stamps[index - 1])
        return dues[index - 1] + share * (dues[index] - dues[index - 1])

    def _note(self, now: float, due: float) -> None:
        if self._stamps and now <= self._stamps[-1]:
            return
        if self._dues[-2:] == [due, due]:
            self._stamps[-1] = now  # of a rest, the begin and the end are enough
            return
        self._stamps.append(now)
        self._dues.append(due)
        if len(self._stamps) > 2 * _KEPT:
            del self._stamps[:_KEPT], self._dues[:_KEPT]
