# SPDX-License-Identifier: Apache-2.0
"""The deadmen: what must not grow old while the arm moves, and a clock that must not run back."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from dm0_ros.control.measurement import Measurement
from dm0_ros.errors import ObservationError
from dm0_ros.robots.spec import ExecutorSettings

_STALL = 2.0  # of the longest step: a tick this late was kept waiting
_CLOCK_STEP = 0.001  # s that time may seem to go backwards before it counts as a jump


class Watch:
    """The newest measurement, and how much time passes between ticks."""

    def __init__(
        self, names: Sequence[str], settings: ExecutorSettings, longest_step: float
    ) -> None:
        self._settings = settings
        self._longest_step = longest_step  # s
        self._measurement = Measurement(names, settings.state_timeout)
        self._last_tick: float | None = None
        self._lenient_until = -math.inf  # s: joint states may wait unread after missed ticks
        self._still_since = -math.inf  # s: what was measured before is not where the arm is

    def begin(self, now: float) -> None:
        """Count from ``now``, or a clock set back before the first tick went unnoticed."""
        if self._last_tick is None:
            self._last_tick = now

    def tick(self, now: float) -> float:
        """Seconds since the last tick; below zero only where the clock was set back."""
        elapsed = 1.0 / self._settings.rate if self._last_tick is None else now - self._last_tick
        self._last_tick = now
        if elapsed > _STALL * self._longest_step:
            # Whoever kept us from ticking kept us from listening too, for about as long.
            self._lenient_until = now + min(elapsed, self._settings.state_timeout)
        if elapsed < -_CLOCK_STEP:
            self._measurement.forget()
            self._still_since = -math.inf
            return elapsed
        return max(0.0, elapsed)

    def update(self, positions: Mapping[str, float], stamp: float, now: float) -> str:
        """See `Measurement.update`; a ``stamp`` of 0 says that the driver does not know."""
        return self._measurement.update(positions, stamp if stamp else now, now)

    def release(self) -> None:
        """From this tick on nothing is commanded: where that left the arm, is to be measured."""
        if self._last_tick is not None:
            self._still_since = self._last_tick

    def measured(self, now: float) -> np.ndarray:
        """See `Measurement.read`. Also asks that the arm had come to rest by then."""
        positions = self._measurement.read(now)
        if self._measurement.oldest < self._still_since:
            raise ObservationError("no joint_states since the arm came to rest")
        return positions

    def seen(self, stamp: float) -> np.ndarray:
        """See `Measurement.nearest`."""
        return self._measurement.nearest(stamp)

    def missing(self, now: float) -> str:
        """Why joint states cannot be used, or ''; patient after ticks that were missed."""
        try:
            if now >= self._lenient_until:
                self._measurement.check(now)
        except ObservationError as error:
            return str(error)
        return ""

    def outdated(self, observed: float, now: float) -> str:
        """Why a plan made from what was ``observed`` then must not be followed any more, or ''."""
        limit, age = self._settings.plan_timeout, now - observed
        if not limit or age <= limit:
            return ""
        return f"is {age:.3f} s old; the limit (plan_timeout) is {limit:g} s"
