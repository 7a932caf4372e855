# SPDX-License-Identifier: Apache-2.0
"""How a new plan takes over from the motion that is under way."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dm0_ros.control.limits import Limits
from dm0_ros.control.plan import Coast, Motion

_DEEPEST = 3  # blends of blends that are sampled exactly
_SHARE = 0.5  # of the limits that a blend may use up, leaving the rest to the plans themselves


class Seam(Protocol):
    """A strategy for taking over."""

    def join(self, old: Motion, new: Motion, now: float, limits: Limits) -> Motion:
        """The motion that leaves ``old`` at ``now`` and is ``new`` in the end."""


@dataclass(frozen=True)
class Replace:
    """The new plan at once. Leaves it to the limits to make a step feasible."""

    def join(self, old: Motion, new: Motion, now: float, limits: Limits) -> Motion:
        """See `Seam`."""
        return new


@dataclass(frozen=True)
class Blend:
    """Cross-fade with a quintic weight: acceleration stays continuous from old to new.

    The fade lasts ``time`` seconds, or longer where the plans are so far apart that fading alone
    would take more than half of a joint's velocity or acceleration limit. It begins no earlier
    than the new plan.
    """

    time: float  # s

    def join(self, old: Motion, new: Motion, now: float, limits: Limits) -> Motion:
        """See `Seam`."""
        old = _flatten(old, now, self.time)
        begin = max(now, new.start)
        gap = np.abs(new.sample(begin)[0] - old.sample(begin)[0])
        duration = max(self.time, _fade_time(gap, limits))
        return Fade(old, new, begin, duration) if duration > 0 else new


class Fade:
    """Between two motions: ``old`` until ``begin``, ``new`` from ``begin + duration`` on."""

    def __init__(self, old: Motion, new: Motion, begin: float, duration: float) -> None:
        self.old = old
        self.new = new
        self.start = old.start
        self.end = new.end
        self.done = begin + duration
        self.depth = 1 + getattr(old, "depth", 0)
        self._begin = begin
        self._duration = duration

    def sample(self, time: float) -> np.ndarray:
        """See `Motion`."""
        if time >= self.done:
            return self.new.sample(time)
        old = self.old.sample(time)
        if time <= self._begin:
            return old
        weight, slope, curve = _weight((time - self._begin) / self._duration, self._duration)
        gap = self.new.sample(time) - old
        state = old + weight * gap
        state[1] += slope * gap[0]
        state[2] += 2 * slope * gap[1] + curve * gap[0]
        return state


def _weight(x: float, duration: float) -> tuple[float, float, float]:
    """The quintic 10 x^3 - 15 x^4 + 6 x^5 and its derivatives by time, x in [0, 1]."""
    rest = 1 - x
    weight = x**3 * (10 - 15 * x + 6 * x * x)
    slope = 30 * (x * rest) ** 2 / duration
    curve = 60 * x * rest * (1 - 2 * x) / duration**2
    return weight, slope, curve


def _fade_time(gap: np.ndarray, limits: Limits) -> float:
    """Shortest fade across ``gap`` (D,) within a share of the limits.

    The weight's slope is at most 15/8 and its curvature 10/sqrt(3), both over powers of duration.
    """
    gap = np.where(limits.linear, 0.0, gap)  # a gripper that opens must not delay the arm
    by_velocity = 15 / 8 * gap / (_SHARE * limits.velocity)
    by_acceleration = np.sqrt(10 / np.sqrt(3) * gap / (_SHARE * limits.acceleration))
    return float(np.max(np.maximum(by_velocity, by_acceleration), initial=0.0))


def _flatten(old: Motion, now: float, time: float) -> Motion:
    """Drop what is over; replace a deep stack of blends by coasting on from where it is.

    Plans that come faster than they fade would otherwise cost more with every plan.
    """
    while isinstance(old, Fade) and now >= old.done:
        old = old.new
    if getattr(old, "depth", 0) < _DEEPEST:
        return old
    return Coast(now, old.sample(now), max(time, old.done - now))
