# SPDX-License-Identifier: Apache-2.0
"""What a new plan has to agree with: the rows of the one in use that are executed meanwhile."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dm0_ros.policy.protocol import Plan, PolicySpec, Prefix

WINDOW = 50
"""Delays that the percentile is taken over."""
LIKELY = 95
"""Percentile of the delays that a plan is prepared for."""


@dataclass(frozen=True)
class Execution:
    """What the executor said last of the plans that it got."""

    sequence: int  # of the plan in use, or of the last one that was; 0 without one
    dropped: int  # plans that it refused so far
    resting: bool  # whether it follows none


class _Sent(NamedTuple):
    sequence: int
    start: float  # s: the stamp at which the arm is to be in row 0
    values: np.ndarray  # (H, D)
    dropped: int  # plans that had been refused when it was sent


class Commitments:
    """Follows the plans of one task: which is in use, and how long each took to come."""

    def __init__(self, spec: PolicySpec, period: float, latency: float) -> None:
        """``period`` s at least lie between two plans; the arm is ``latency`` s behind commands.

        The latency is what the executor makes commands earlier by.
        """
        self._spec = spec
        self._period, self._latency = period, latency
        self._delays: deque[float] = deque(maxlen=WINDOW)
        self._sent: deque[_Sent] = deque(maxlen=WINDOW)
        self._cold = True  # no plan was sent yet
        self._sequence = 0  # that was in use when last looked
        self._begun = -math.inf  # s: when the arm began to move
        self.refusal = "no plan yet"  # why `commit` gave nothing

    def note(self, plan: Plan, sequence: int, now: float, execution: Execution) -> None:
        """A plan was published at ``now`` (s); ``execution`` is from before that.

        The delay of the first one is left out: caches and clocks were cold. A plan from an
        observation before the arm began to move starts when it did, as in the executor.
        """
        if not self._cold:
            self._delays.append(now - plan.start)
        self._cold = False
        if execution.resting:
            self._begun = now + self._latency
        start = max(plan.start, self._begun)
        self._sent.append(_Sent(sequence, start, plan.values, execution.dropped))

    @property
    def delay(self) -> float:
        """s from an observation to its plan that nearly all plans keep; NaN before the second."""
        return float(np.percentile(self._delays, LIKELY)) if self._delays else math.nan

    def commit(self, stamp: float, execution: Execution) -> Prefix | None:
        """What of the plan in use a plan from an observation at ``stamp`` (s) has to keep.

        None, and a `refusal`, where nothing can be kept: at the start of a task, while the arm
        rests, or where delay d, executed rows s and horizon H do not satisfy d <= s <= H - d.
        """
        horizon, step = self._spec.horizon, self._spec.step
        if not self._delays:
            self.refusal = "no delay was measured yet"
            return None
        sent = self._find_in_use(execution)
        if sent is None:
            self.refusal = "the executor follows no plan"
            return None
        delay = math.ceil(self.delay / step)
        executed = max(delay, math.ceil(self._period / step))
        rows = _rows_from(sent, stamp, step)
        if not delay <= executed <= horizon - delay:
            self.refusal = (
                f"a delay of {delay} rows and {executed} executed ones do not fit a chunk of "
                f"{horizon} (delay <= executed <= horizon - delay)"
            )
            return None
        if len(rows) < delay:
            self.refusal = f"only {len(rows)} rows of the plan are left, the delay is {delay}"
            return None
        self.refusal = ""
        return Prefix(rows, delay, executed)

    def _find_in_use(self, execution: Execution) -> _Sent | None:
        """The newest plan that was not refused, as far as that is known yet."""
        if execution.sequence < self._sequence:
            self._sent.clear()  # by a reset
        self._sequence = execution.sequence
        while self._sent and _was_refused(self._sent[-1], execution):
            self._sent.pop()
        if not self._sent:
            return None
        newest = self._sent[-1]
        over = execution.resting and newest.sequence <= execution.sequence
        return None if over else newest


def _was_refused(sent: _Sent, execution: Execution) -> bool:
    return execution.sequence < sent.sequence and execution.dropped > sent.dropped


def _rows_from(sent: _Sent, stamp: float, step: float) -> np.ndarray:
    """Rows (n, D) of a plan at ``stamp`` and every step after it, as far as it reaches."""
    values = sent.values
    first = max(0.0, (stamp - sent.start) / step)
    places = np.arange(first, len(values) - 1 + 1e-9)
    known = np.arange(len(values))
    columns = [np.interp(places, known, column) for column in values.T]
    return np.stack(columns, axis=1) if len(places) else np.empty((0, values.shape[1]))
