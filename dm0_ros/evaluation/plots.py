# SPDX-License-Identifier: Apache-2.0
"""Plots of an evaluation as SVG: small ones, so that a phone shows them one below the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PLAN, DONE, RECORDED = "#d50078", "#1c2430", "#8a94a3"
OURS, THEIRS = "#2f6db3", "#c77700"
_WIDE, _SMALL = (4.6, 2.2), (3.1, 1.35)  # inches
_MARGINS = {"left": 0.15, "right": 0.98, "bottom": 0.17, "top": 0.95}  # of the small ones
_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "dm0_ros",  # the same figures, the same bytes
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6eaef",
    "axes.axisbelow": True,
    "axes.edgecolor": "#8a94a3",
}
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))

Band = tuple[np.ndarray, np.ndarray, np.ndarray]  # mean, low and high, (N,) each


def plot_column(curves: Mapping[str, np.ndarray], column: int, step: float) -> bytes:
    """One column of a moment: what was planned, what was recorded, what was done, all (H, D)."""
    with rc_context(_SETTINGS):
        figure, axis = _start(_SMALL)
        seconds = np.arange(len(curves["plan"])) * step
        for name, colour, style, width in (
            ("recorded", RECORDED, "--", 1.2),
            ("actions", DONE, "-", 1.6),
            ("plan", PLAN, "-", 1.6),
        ):
            axis.plot(seconds, curves[name][:, column], style, color=colour, lw=width)
        axis.set_xlim(0, seconds[-1])
        axis.margins(y=0.1)
        _keep_flat(axis)
        return _render(figure)


def _keep_flat(axis: Axes) -> None:
    """A line that hardly moves is not to look as if it did."""
    low, high = axis.get_ylim()
    if high - low < 0.02:
        middle = (low + high) / 2
        axis.set_ylim(middle - 0.01, middle + 0.01)


def plot_curves(
    places: np.ndarray, bands: Mapping[str, Band], across: str, up: str, small: bool = False
) -> bytes:
    """Curves with their intervals, by name; the first is ours, the second that of the others."""
    with rc_context(_SETTINGS):
        figure, axis = _start(_SMALL if small else _WIDE)
        for (name, (mean, low, high)), colour in zip(bands.items(), (OURS, THEIRS), strict=False):
            axis.fill_between(places, low, high, color=colour, alpha=0.2, lw=0)
            axis.plot(places, mean, color=colour, lw=1.6, label=name)
        axis.set(xlabel=across, ylabel=up, xlim=(places[0], places[-1]), ylim=(0, None))
        if len(bands) > 1:
            axis.legend(fontsize=7, frameon=False)
        return _render(figure)


def plot_bars(names: Sequence[str], bands: Mapping[str, Band], across: str) -> bytes:
    """A bar for each name, with its interval; one beside the other for each of the bands."""
    with rc_context(_SETTINGS):
        figure, axis = _start((_WIDE[0], 0.7 + 0.24 * len(names)))
        height = 0.8 / len(bands)
        places = np.arange(len(names))
        for number, (name, (mean, low, high)) in enumerate(bands.items()):
            at, colour = places + (number - (len(bands) - 1) / 2) * height, (OURS, THEIRS)[number]
            axis.barh(at, mean, height * 0.9, color=colour, alpha=0.8, label=name)
            for place, begin, end in zip(at, low, high, strict=True):
                axis.plot([begin, end], [place, place], color=DONE, lw=1)
        axis.set_yticks(places, names)
        axis.invert_yaxis()
        axis.grid(visible=False, axis="y")
        axis.set(xlabel=across, xlim=(0, None))
        if len(bands) > 1:
            axis.legend(fontsize=7, frameon=False)
        return _render(figure)


def plot_histogram(groups: Mapping[str, np.ndarray], across: str, up: str) -> bytes:
    """How values (N,) are spread, one line for each group."""
    with rc_context(_SETTINGS):
        figure, axis = _start(_WIDE)
        known = {name: values[np.isfinite(values)] for name, values in groups.items()}
        every = np.concatenate(list(known.values()))
        edges = np.histogram_bin_edges(every, bins=min(30, max(8, len(every) // 4)))
        for (name, values), colour in zip(known.items(), (OURS, THEIRS), strict=False):
            axis.hist(values, edges, color=colour, alpha=0.55, label=name)
        axis.set(xlabel=across, ylabel=up)
        if len(groups) > 1:
            axis.legend(fontsize=7, frameon=False)
        return _render(figure)


def plot_differences(names: Sequence[str], band: Band, across: str) -> bytes:
    """A point for each name, with its interval: left of the line, less is better, ours is."""
    with rc_context(_SETTINGS):
        figure, axis = _start((_WIDE[0], 0.7 + 0.2 * len(names)))
        places = np.arange(len(names))
        axis.axvline(0.0, color=DONE, lw=1)
        for place, mean, low, high in zip(places, *band, strict=True):
            colour = OURS if mean < 0 else THEIRS
            axis.plot([low, high], [place, place], color=colour, lw=1.6)
            axis.plot([mean], [place], "o", color=colour, ms=4)
        axis.set_yticks(places, names)
        axis.invert_yaxis()
        axis.grid(visible=False, axis="y")
        axis.set(xlabel=across)
        return _render(figure)


def plot_calibration(told: np.ndarray, true: np.ndarray, counts: np.ndarray) -> bytes:
    """Progress that was told (B,) against the progress that it was (B,), larger where often."""
    with rc_context(_SETTINGS):
        figure, axis = _start((3.4, 3.1))
        axis.plot([0, 1], [0, 1], color=RECORDED, lw=1, ls="--")
        sizes = 15 + 60 * counts / max(counts.max(), 1)
        axis.plot(true, told, color=OURS, lw=1)
        axis.scatter(true, told, s=sizes, color=OURS)
        axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axis.set(xlabel="part of the episode that is over", ylabel="progress that is told")
        return _render(figure)


def _start(size: tuple[float, float]) -> tuple[Figure, Axes]:
    if size != _SMALL:
        figure = Figure(figsize=size, layout="constrained")
        return figure, figure.subplots()
    figure = Figure(figsize=size)  # these are many, and to fit a layout takes as long as to draw
    return figure, figure.subplots(gridspec_kw=_MARGINS)


def _render(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="svg", metadata=_NO_METADATA)
    return buffer.getvalue()
