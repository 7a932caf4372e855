# SPDX-License-Identifier: Apache-2.0
"""Plots of a recording as PNG bytes."""

from collections.abc import Sequence
from io import BytesIO

import matplotlib

matplotlib.use("agg")

import numpy as np
from matplotlib.figure import Figure

from dm0_ros.replay.measures import Window
from dm0_ros.replay.recording import Series

_STAGES = ("preprocessing", "vision and prefix", "reasoning", "flow")


def plot_latency(latencies: np.ndarray) -> bytes:
    """Histogram of the time to make a plan, and its stages; ``latencies`` (P, 4) in ms."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.hist(latencies.sum(axis=1), bins=40, color="#3b6ea5")
    left.set(xlabel="observation to plan (ms)", ylabel="plans")
    right.boxplot([latencies[:, k] for k in range(latencies.shape[1])], orientation="horizontal")
    right.set_yticks(range(1, len(_STAGES) + 1), _STAGES)
    right.set(xlabel="ms")
    return _render(figure)


def plot_tracking(commands: Series, measured: Series, window: Window) -> bytes:
    """Commanded and measured joints over one window, one small plot each."""
    names = [name for name in commands.names if name in measured.names]
    figure = Figure(figsize=(9, 1.3 * len(names) + 0.4), layout="constrained")
    axes = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axis, name in zip(axes, names, strict=True):
        for series, style in ((commands, "-"), (measured, "--")):
            inside = (series.times >= window[0]) & (series.times <= window[1])
            axis.plot(series.times[inside] - window[0], series.column(name)[inside], style, lw=1.2)
        axis.set_ylabel(name, rotation=0, ha="right", fontsize=8)
        axis.tick_params(labelsize=7)
    axes[0].legend(["commanded", "measured"], loc="upper right", fontsize=7, ncols=2)
    axes[-1].set_xlabel("s after the goal; joints in rad, grippers in m")
    return _render(figure)


def plot_periods(commands: Series, windows: Sequence[Window]) -> bytes:
    """Histogram of the time between two commands, ms."""
    periods = [
        np.diff(commands.times[(commands.times >= start) & (commands.times <= end)])
        for start, end in windows
    ]
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axis = figure.subplots()
    axis.hist(np.concatenate([*periods, []]) * 1e3, bins=80, color="#3b6ea5")
    axis.set_yscale("symlog")
    axis.set(xlabel="time between commands as they arrived (ms)", ylabel="commands")
    return _render(figure)


def _render(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
