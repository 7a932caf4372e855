# SPDX-License-Identifier: Apache-2.0
"""What was known at a moment, of things that were recorded at moments of their own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_FAR = 0.5  # s by which stamps and reception must disagree for a clock to have jumped
_SLACK = 1e-6  # s: stamps of 2026 in float64 resolve 0.24 microseconds


@dataclass(frozen=True)
class Gap:
    """Where stamps of one sensor do not go on as they should."""

    moment: float  # s: the last stamp before it
    text: str


def make_ticks(begin: float, end: float, step: float) -> np.ndarray:
    """Moments (F,) from ``begin`` up to ``end`` (s), ``step`` apart; empty where there is none."""
    count = int(np.floor((end - begin + _SLACK) / step)) + 1
    return begin + step * np.arange(max(count, 0))


def interpolate(times: np.ndarray, values: np.ndarray, ticks: np.ndarray) -> np.ndarray:
    """Values (F,) at ``ticks``, linear between the two measurements (N,) around each of them."""
    return np.interp(ticks, times, values)


def hold(times: np.ndarray, values: np.ndarray, ticks: np.ndarray) -> np.ndarray:
    """The newest of ``values`` (N, C) at or before each tick (F, C); NaN before the first.

    ``times`` (N,) do not fall; of several at the same time the last one counts.
    """
    newest = pick_newest(times, ticks)
    held = np.full((len(ticks), values.shape[1]), np.nan)
    held[newest >= 0] = values[newest[newest >= 0]]
    return held


def pick_newest(times: np.ndarray, ticks: np.ndarray) -> np.ndarray:
    """Which of ``times`` (N,), that do not fall, is the last at or before each tick; -1: none."""
    return np.searchsorted(times, ticks + _SLACK, side="right") - 1


def find_gap(stamps: Sequence[float], received: Sequence[float], most: float) -> Gap | None:
    """The first place where stamps go back, or more than ``most`` s pass without one.

    Stamps in order of reception. Where reception went on meanwhile, it was the clock that jumped.
    """
    steps, waits = np.diff(stamps), np.diff(received)
    wrong = np.flatnonzero((steps < 0) | (steps > most))
    if not len(wrong):
        return None
    first = wrong[0]
    step, wait = steps[first], waits[first]
    if abs(step - wait) > _FAR:
        text = f"the clock of its stamps jumped by {step - wait:+.3f} s against reception"
    elif step < 0:
        text = f"stamps go back by {-step:.3f} s"
    else:
        text = f"nothing for {step:.3f} s, and {most:g} s are allowed"
    return Gap(float(stamps[first]), text)
