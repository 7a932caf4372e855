# SPDX-License-Identifier: Apache-2.0
"""Figures from a recording: how late plans come, how even commands are, how well joints follow."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dm0_ros.replay.recording import Recording, Series

Window = tuple[float, float]  # s since 1970: from, to


@dataclass(frozen=True)
class Percentiles:
    """Median and 99th percentile; NaN where there was nothing to measure."""

    p50: float
    p99: float


@dataclass(frozen=True)
class CommandTiming:
    """How evenly commands came, as the middleware stamped their arrival."""

    count: int
    rate: float  # Hz, while they came
    period_p99: float  # s


@dataclass(frozen=True)
class TrackingError:
    """How far a joint was from its command: rad, or m."""

    root_mean_square: float
    greatest: float


def chunk_latency(recording: Recording) -> Percentiles:
    """Wall time from observation to plan, all stages, ms."""
    return _percentiles(recording.latencies.sum(axis=1))


def command_timing(commands: Series, windows: Sequence[Window]) -> CommandTiming:
    """Rate and period within each window; the pauses between windows do not count."""
    periods = np.concatenate(
        [np.diff(commands.times[_inside(commands.times, window)]) for window in windows] or [[]]
    )
    if not len(periods):
        return CommandTiming(0, float("nan"), float("nan"))
    total = float(periods.sum())
    rate = len(periods) / total if total > 0 else float("nan")
    return CommandTiming(len(periods), rate, float(np.percentile(periods, 99)))


def tracking_errors(
    commands: Series, measured: Series, windows: Sequence[Window]
) -> dict[str, TrackingError]:
    """Measured minus commanded, for every commanded joint that is measured.

    A command holds until the next one. Times before the first command of a window do not count.
    """
    errors = {}
    for name in commands.names:
        if name not in measured.names:
            continue
        distances = np.concatenate(
            [_distances(commands, measured, name, window) for window in windows] or [[]]
        )
        distances = distances[np.isfinite(distances)]
        if len(distances):
            square = float(np.sqrt(np.mean(distances**2)))
            errors[name] = TrackingError(square, float(np.abs(distances).max()))
    return errors


def _distances(commands: Series, measured: Series, name: str, window: Window) -> np.ndarray:
    chosen = _inside(commands.times, window)
    times, values = commands.times[chosen], commands.column(name)[chosen]
    if not len(times):
        return np.empty(0)
    moments = _inside(measured.times, (times[0], window[1]))
    latest = np.searchsorted(times, measured.times[moments], side="right") - 1
    return measured.column(name)[moments] - values[latest]


def _inside(times: np.ndarray, window: Window) -> np.ndarray:
    return (times >= window[0]) & (times <= window[1])


def _percentiles(values: np.ndarray) -> Percentiles:
    if not len(values):
        return Percentiles(float("nan"), float("nan"))
    p50, p99 = np.percentile(values, [50, 99])
    return Percentiles(float(p50), float(p99))
