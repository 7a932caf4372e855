# SPDX-License-Identifier: Apache-2.0
"""What the executor says about itself, and what it commands."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

_REMEMBERED = 0.2  # s


class State(IntEnum):
    """States, with the numbers of ExecutorStatus.msg."""

    IDLE = 0  # nothing is commanded
    APPROACH = 1  # moving slowly to a far first row
    EXECUTING = 2  # following a plan
    STARVED = 3  # the plan ran out; braking
    HOLD = 4  # keeping the last set-point
    FAULT = 5  # stopped because something is wrong


@dataclass(frozen=True)
class SetPoint:
    """What is commanded at one tick; arrays are (D,) in the order of ``Executor.names``."""

    time: float  # s
    positions: np.ndarray  # rad or m
    velocities: np.ndarray
    accelerations: np.ndarray


@dataclass(frozen=True)
class Status:
    """What the executor does and why; mirrors ExecutorStatus.msg."""

    state: State
    reason: str
    needs_reset: bool  # plans are refused until then
    epoch: int
    sequence: int  # of the plan in use; 0 where none was
    time_left: float  # s
    observation_age: float  # s; NaN where no plan is in use
    seam: float  # rad or m
    limited: tuple[str, ...]
    dropped: int
    period_p99: float = math.nan  # s; known to whoever runs the ticks


class Lately:
    """Names that were heard of within the last 0.2 s, long enough for a status to tell them."""

    def __init__(self) -> None:
        self._times: dict[str, float] = {}

    def note(self, names: Sequence[str], now: float) -> None:
        """Hear of ``names`` at ``now`` (s)."""
        for name in names:
            self._times[name] = now

    def names(self, now: float) -> tuple[str, ...]:
        """Those of late, sorted."""
        return tuple(sorted(n for n, time in self._times.items() if now - time <= _REMEMBERED))
