# SPDX-License-Identifier: Apache-2.0
"""What a new plan has to agree with: the rows of the last one that are executed meanwhile."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from dm0_ros.policy.protocol import Plan, PolicySpec, Prefix

WINDOW = 50
"""Delays that the percentile is taken over."""
LIKELY = 95
"""Percentile of the delays that a plan is prepared for."""


class Commitments:
    """Follows the plans of one task, and how long each took from its observation on."""

    def __init__(self, spec: PolicySpec, period: float) -> None:
        """``period`` s at least lie between two plans."""
        self._spec = spec
        self._period = period
        self._delays: deque[float] = deque(maxlen=WINDOW)
        self._last: Plan | None = None
        self.refusal = "no plan yet"  # why `commit` gave nothing

    def note(self, plan: Plan, delay: float) -> None:
        """A plan was published ``delay`` s after its observation.

        The first one is left out of the delays: caches and clocks were cold.
        """
        if self._last is not None:
            self._delays.append(delay)
        self._last = plan

    @property
    def delay(self) -> float:
        """s from an observation to its plan that nearly all plans keep; NaN before the second."""
        return float(np.percentile(self._delays, LIKELY)) if self._delays else math.nan

    def commit(self, stamp: float) -> Prefix | None:
        """What of the last plan a plan from an observation at ``stamp`` (s) has to keep.

        None, and a `refusal`, where nothing can be kept: at the start of a task, or where delay d,
        executed rows s and horizon H do not satisfy d <= s <= H - d.
        """
        horizon, step = self._spec.horizon, self._spec.step
        if not self._delays:
            self.refusal = "no delay was measured yet"
            return None
        delay = math.ceil(self.delay / step)
        executed = max(delay, math.ceil(self._period / step))
        rows = self._rows_from(stamp)
        if not delay <= executed <= horizon - delay:
            self.refusal = (
                f"a delay of {delay} rows and {executed} executed ones do not fit a chunk of "
                f"{horizon} (delay <= executed <= horizon - delay)"
            )
            return None
        if len(rows) < delay:
            self.refusal = f"only {len(rows)} rows of the last plan are left, the delay is {delay}"
            return None
        self.refusal = ""
        return Prefix(rows, delay, executed)

    def _rows_from(self, stamp: float) -> np.ndarray:
        """The last plan (n, D) at ``stamp`` and every step after it, as far as it reaches."""
        values, spec = self._last.values, self._spec
        first = max(0.0, (stamp - self._last.start) / spec.step)
        places = np.arange(first, len(values) - 1 + 1e-9)
        known = np.arange(len(values))
        columns = [np.interp(places, known, column) for column in values.T]
        return np.stack(columns, axis=1) if len(places) else np.empty((0, values.shape[1]))
