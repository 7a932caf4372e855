# SPDX-License-Identifier: Apache-2.0
"""What the executor says about itself, and what it commands."""

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np


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
