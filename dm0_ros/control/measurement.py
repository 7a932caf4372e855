# SPDX-License-Identifier: Apache-2.0
"""Where each joint was measured, last and lately."""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence

import numpy as np

from dm0_ros.errors import ObservationError

_KEPT = 10_000  # messages that are remembered: 10 s at 1 kHz


class Measurement:
    """Positions by name; each joint may be reported in messages of its own."""

    def __init__(self, names: Sequence[str], timeout: float) -> None:
        """Expect ``names``, none of them older than ``timeout`` seconds."""
        self._names = tuple(names)
        self._column = {name: index for index, name in enumerate(names)}
        self._timeout = timeout
        self.forget()

    def forget(self) -> None:
        """Know nothing."""
        self._positions = np.full(len(self._names), math.nan)
        self._stamps = np.full(len(self._names), -math.inf)
        self._seen: set[str] = set()
        self.oldest = -math.inf  # s: the least of the stamps
        self._broken = False  # whether a value is not finite
        self._times: list[float] = []  # s, rising
        self._past: list[np.ndarray] = []  # (D,) each, at those times

    def update(self, positions: Mapping[str, float], stamp: float, now: float) -> str:
        """Take in some joints; returns a sentence about one that is not finite, or ''.

        A stamp in the future counts as now.
        """
        broken = ""
        if not self._seen >= positions.keys():
            self._seen |= positions.keys()
        for name, value in positions.items():
            index = self._column.get(name)
            if index is not None:
                self._positions[index] = value
                self._stamps[index] = min(stamp, now)
                if not math.isfinite(value):
                    broken = f"joint_states says {value} for {name}"
        self.oldest = float(self._stamps.min())
        self._broken = not np.isfinite(self._positions).all()
        if not self._broken:
            self._remember(min(stamp, now))
        return broken

    def nearest(self, stamp: float) -> np.ndarray:
        """Positions (D,) measured nearest to ``stamp`` (s); only after a `read` that succeeded."""
        after = bisect_right(self._times, stamp)
        candidates = range(max(0, after - 1), min(after + 1, len(self._times)))
        return self._past[min(candidates, key=lambda index: abs(self._times[index] - stamp))]

    def read(self, now: float) -> np.ndarray:
        """Positions (D,) in the order of names.

        Raises `ObservationError` that names a joint which is missing, too old, or not finite.
        """
        self.check(now)
        return self._positions.copy()

    def check(self, now: float) -> None:
        """Raise what `read` would; for those who ask at every tick."""
        if now - self.oldest > self._timeout:
            name = self._names[int(np.argmin(self._stamps))]
            raise ObservationError(self._explain(name, now - self.oldest))
        if self._broken:
            index = int(np.argmin(np.isfinite(self._positions)))
            value = self._positions[index]
            raise ObservationError(f"joint_states says {value} for {self._names[index]}")

    def _remember(self, stamp: float) -> None:
        """Keep the newest positions; a message that is older than one before it adds to that."""
        if self._times and stamp <= self._times[-1]:
            self._past[-1] = self._positions.copy()
            return
        self._times.append(stamp)
        self._past.append(self._positions.copy())
        if len(self._times) > 2 * _KEPT:
            del self._times[:_KEPT], self._past[:_KEPT]

    def _explain(self, name: str, age: float) -> str:
        if not self._seen:
            return "no joint_states yet; check that the driver publishes them"
        if math.isinf(age):
            missing = [name for name in self._names if name not in self._seen]
            return (
                f"joint_states lacks {', '.join(missing)}; it has {', '.join(sorted(self._seen))}"
            )
        return (
            f"joint_states: {name} is {age:.3f} s old; the limit (state_timeout) is "
            f"{self._timeout:.3f} s. Check the driver, and that its clock agrees"
        )
