# SPDX-License-Identifier: Apache-2.0
"""How much of the motion under way the next plan has to keep: real-time chunking's prefix.

A policy takes a while to plan; what the arm does meanwhile is decided already. Symbols are those
of Black et al. 2025 (arXiv 2506.07339): d rows pass while the policy plans, s rows are played
between two plans, of H rows in a plan.
"""

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

_WINDOW = 100  # delays that the percentile is taken over
_PERCENTILE = 95


class Delays:
    """Seconds from an observation to the use of its plan, lately; the first one is left out.

    The first plan waits for what is slow once: compilation, caches, the network.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, with a first plan to leave out."""
        self._cold = True
        self._delays: deque[float] = deque(maxlen=_WINDOW)

    def add(self, delay: float) -> None:
        """Count one more (s)."""
        if not self._cold:
            self._delays.append(delay)
        self._cold = False

    @property
    def p95(self) -> float:
        """95th percentile (s); NaN before there is any."""
        return float(np.percentile(self._delays, _PERCENTILE)) if self._delays else math.nan


@dataclass(frozen=True)
class Prefix:
    """What the policy is asked to keep. Where ``reason`` says why not, nothing."""

    rows: np.ndarray  # (n, D) absolute, the first at the observation's time; n <= H
    kept: int  # rows that are executed before the plan can count: d
    reason: str  # empty where there is a prefix


def choose_prefix(
    committed: np.ndarray, delay: float, step: float, executed: int, horizon: int
) -> Prefix:
    """The prefix for a plan of ``horizon`` rows, of which ``executed`` are played.

    ``committed`` (n, D) are the rows already decided, from the observation on; ``delay`` (s) is
    what planning takes, as measured. There is none unless d <= s <= H - d: else rows would have
    to be kept that no plan has, or be played that were never free.
    """
    nothing = np.zeros((0, committed.shape[1]))
    if math.isnan(delay):
        return Prefix(nothing, 0, "no delay has been measured yet")
    kept = math.ceil(delay / step - 1e-9)
    if not kept <= executed <= horizon - kept:
        return Prefix(
            nothing,
            0,
            f"a delay of {kept} rows does not fit {executed} executed of {horizon}: it must be "
            f"at most {min(executed, horizon - executed)}",
        )
    if len(committed) < kept:
        return Prefix(nothing, 0, f"{len(committed)} rows are committed; the delay is {kept}")
    return Prefix(committed[: max(kept, horizon - executed)], kept, "")
