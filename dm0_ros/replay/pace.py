# SPDX-License-Identifier: Apache-2.0
"""When a moment of a bag is due on this machine; may be paused, stepped and ended."""

import threading
import time
from collections.abc import Callable


class Pace:
    """One thread waits for moments in order, any other may pause, step and end it."""

    def __init__(
        self, begin: float, rate: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """``begin`` (s) is due at the first wait; ``rate``: seconds of the bag in one of ours."""
        self._rate, self._monotonic = rate, monotonic
        self._condition = threading.Condition()
        self._at = begin  # the last moment that was due
        self._since: float | None = None  # monotonic time at which it was due; None: not yet
        self._paused = False
        self._allowed = begin  # up to which a paused one may go
        self._ended = False
        self.latest = 0.0  # s of ours that a moment was late, at most

    def wait(self, moment: float) -> bool:
        """Return when a moment (s) is due: True, or False where this has been ended."""
        with self._condition:
            while not self._ended:
                left = self._left(moment)
                if left is not None and left <= 0:
                    return True
                self._condition.wait(left)
            return False

    def _left(self, moment: float) -> float | None:
        """Seconds of ours until a moment is due; None while paused before it."""
        if self._paused:
            if moment > self._allowed:
                return None
            self._at = max(self._at, moment)
            return 0.0
        now = self._monotonic()
        if self._since is None:
            self._since = now
        left = self._since + (moment - self._at) / self._rate - now
        if left <= 0:
            self.latest = max(self.latest, -left)
            if moment > self._at:
                self._since += (moment - self._at) / self._rate
                self._at = moment
        return left

    def pause(self, paused: bool) -> None:
        """Stand still after the moment that is due now, or go on from there."""
        with self._condition:
            self._paused, self._allowed, self._since = paused, self._at, None
            self._condition.notify_all()

    def step(self, seconds: float) -> bool:
        """While paused, play so much more (s of the bag) at once; False where not paused."""
        with self._condition:
            self._allowed += seconds if self._paused else 0.0
            self._condition.notify_all()
            return self._paused

    def end(self) -> None:
        """Nothing is due any more."""
        with self._condition:
            self._ended = True
            self._condition.notify_all()
