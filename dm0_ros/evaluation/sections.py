# SPDX-License-Identifier: Apache-2.0
"""The figures of an evaluation on a page, one function for each section; see `summarise`.

A section of which nothing was measured is empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

import numpy as np

from dm0_ros.evaluation import plots
from dm0_ros.evaluation.result import Result
from dm0_ros.evaluation.words import FIGURES, UNKNOWN, find_unit, say_figure, say_interval
from dm0_ros.replay.html import Cell, Number, embed, make_table
from dm0_ros.robots.spec import Space

STYLE = """
.plots { display: flex; flex-wrap: wrap; gap: .8rem 1.2rem; }
.plots figure { flex: 0 1 29rem; } .plots.small figure { flex: 0 1 19rem; }
.plots img { width: 100%; display: block; }
"""

_TIMING = ("switch_late_s", "switch_off_s", "switches_missed", "switches_spurious")
_TEXTS = ("scaffold_valid", "scaffold_iou", "scaffold_path_error")
_STAGES = {"preprocessing": "preprocessing", "prefix": "vision and prefix"}


def make_figures(overall: Mapping) -> Iterator[str]:
    """The table of all figures, and which are not there."""
    measured = {name: overall[name] for name in FIGURES if overall[name]["value"] is not None}
    head = ("", Number("value"), Number("95 % interval"), Number("episodes"), Number("of"))
    rows = []
    for name, estimate in measured.items():
        label, _, unit = FIGURES[name]
        rows.append(
            (
                label,
                _cell(estimate["value"], unit),
                Number(say_interval(estimate, unit)),
                Number(str(estimate["episodes"])),
                Number(f"{estimate['count']:,}"),
            )
        )
    yield make_table(head, rows)
    yield (
        "<p>Intervals: episodes drawn anew, whole ones; of shares, Wilson's. <b>of</b>: how many "
        "numbers the value is the mean of.</p>"
    )
    absent = [FIGURES[name].short for name in FIGURES if name not in measured]
    if absent:
        yield f"<p class=absent>Nothing to be measured of: {escape('; '.join(absent))}.</p>"


def make_columns(summary: Mapping) -> Iterator[str]:
    """Errors by column: bars, a table, and how each grows along the plan."""
    names, table = list(summary["by_column"]), summary["by_column"]
    units = find_units(summary)
    names.sort(key=lambda name: -(table[name]["action"]["normalised"]["value"] or 0.0))
    band = _band([table[name]["action"]["normalised"] for name in names], 100.0)
    if np.isfinite(band[0]).any():
        yield _plot(
            plots.plot_bars(
                names, {"": band}, "mean distance from what the robot did (% of range)"
            ),
            "Error of each column, the worst first",
        )
    head = ("column", *map(Number, ("MAE", "RMSE", "of the range", "95 %", "recorded plan (MAE)")))
    rows = []
    for name in names:
        action, plan, unit = table[name]["action"], table[name]["plan"], units[name]
        rows.append(
            (
                name,
                _cell(action["mae"]["value"], unit),
                _cell(action["rmse"]["value"], unit),
                _cell(action["normalised"]["value"], "share"),
                Number(say_interval(action["normalised"], "share")),
                _cell(plan["mae"]["value"], unit),
            )
        )
    yield make_table(head, rows, "sortable")
    yield from _grow_columns(summary, names, units)


def _grow_columns(summary: Mapping, names: Sequence[str], units: Mapping) -> Iterator[str]:
    seconds = np.arange(summary["horizon"]) * summary["step"]
    figures = []
    for name in names:
        numbers = summary["grid"]["action"][name]
        band = tuple(_numbers(numbers[key]) for key in ("mae", "mae_low", "mae_high"))
        if np.isfinite(band[0]).any():
            plot = plots.plot_curves(seconds, {"": band}, "", "", small=True)
            title = f"{name} ({units[name]})" if units[name] else name
            figures.append(_figure(plot, title))
    if figures:
        yield "<p>Mean distance from what the robot did, by when a row is due (s).</p>"
        yield f'<div class="plots small">{"".join(figures)}</div>'


def make_rows(summary: Mapping) -> Iterator[str]:
    """Errors by the row of a plan, whatever the column."""
    rows = summary["by_row"]
    seconds = np.array([row["seconds"] for row in rows])
    figures = []
    for name, scale, label in (
        ("normalised", 100.0, "all columns, from what the robot did (% of the range)"),
        ("normalised_of_plans", 100.0, "all columns, from the recorded plan (% of the range)"),
        ("pose_mm", 1.0, "end effector, from where it was (mm)"),
        ("pose_degrees", 1.0, "end effector, from how it was turned (°)"),
    ):
        band = _band([row[name] for row in rows], scale)
        if np.isfinite(band[0]).any():
            plot = plots.plot_curves(seconds, {"": band}, "row is due after (s)", "")
            figures.append(_figure(plot, label))
    if figures:
        counts = [row["normalised"]["count"] for row in rows]
        if counts[-1] < counts[0]:
            yield (
                f"<p>Fewer rows can be compared the later they are due ({counts[0]:,} numbers of "
                f"the first row, {counts[-1]:,} of the last): episodes end.</p>"
            )
        yield f'<div class="plots">{"".join(figures)}</div>'


def make_grippers(summary: Mapping, results: Sequence[Result]) -> Iterator[str]:
    """When grippers open and close against when they did."""
    overall = summary["overall"]
    if all(overall[name]["value"] is None for name in _TIMING):
        return
    yield _list_figures(overall, _TIMING)
    switches = np.concatenate([result.read_plans()["switches"] for result in results])
    late = switches[:, 4] - switches[:, 3]
    if np.isfinite(late).sum() > 1:
        plot = plots.plot_histogram({"": late}, "how late the plan is (s)", "switches")
        yield _plot(plot, "How late grippers switch")


def make_reasoning(summary: Mapping) -> Iterator[str]:
    """Texts that plans saw, against those in the bag."""
    overall = summary["overall"]
    if all(overall[name]["value"] is None for name in _TEXTS):
        return
    yield _list_figures(overall, _TEXTS)
    yield f"<p>Compared with: {escape(', '.join(summary['scaffold_sources']))}.</p>"


def _list_figures(overall: Mapping, names: Sequence[str]) -> str:
    rows = []
    for name in names:
        label, _, unit = FIGURES[name]
        estimate = overall[name]
        interval = Number(say_interval(estimate, unit))
        rows.append((label, _cell(estimate["value"], unit), interval))
    return make_table(("", Number("value"), Number("95 % interval")), rows)


def make_motion(summary: Mapping) -> Iterator[str]:
    """What the executor would have commanded: how smooth, how often limited."""
    if not summary["motion"]:
        return
    head = ["joint"]
    units = {"velocity": "rad/s", "acceleration": "rad/s²", "jerk": "rad/s³"}
    for motion, unit in units.items():
        head += [Number(f"{motion} ({unit}), RMS"), Number("greatest")]
    rows = []
    for joint, motions in summary["motion"].items():
        row: list[Cell] = [joint]
        for motion in units:
            row.append(_cell(motions[motion]["rms"]["value"], ""))
            row.append(_cell(motions[motion]["greatest"], ""))
        rows.append(row)
    yield make_table(head, rows, "sortable")
    yield from _tell_executors(summary["by_bag"])


def _tell_executors(bags: Mapping) -> Iterator[str]:
    """Which plans an executor would have followed, by bag."""
    rows = []
    for bag in bags.values():
        told = bag["executor"]
        if told:
            apart = [max(of["rms"].values()) for of in told["commands"].values() if of["rms"]]
            rows.append(
                (
                    bag["bag"],
                    Number(str(told["plans_followed"]), told["plans_followed"]),
                    Number(str(sum(told["refused"].values()))),
                    _cell(told["seam_p50"], ""),
                    _cell(told["seam_max"], ""),
                    _cell(max(apart, default=None), ""),
                )
            )
    head = ("followed", "refused", "seam, median", "greatest", "from recorded commands (RMS)")
    yield make_table(("plans in", *map(Number, head)), rows, "sortable")
    yield (
        "<p>What the executor would have made of the plans. A seam is how far a plan was from the "
        "one before it when it took over, rad or m. The last column is of the worst joint.</p>"
    )


def make_progress(summary: Mapping) -> Iterator[str]:
    """Progress that was told against the time that had passed."""
    bins = summary["calibration"]
    if bins:
        said, done = (np.array([one[name] for one in bins]) for name in ("said", "done"))
        counts = np.array([one["count"] for one in bins])
        plot = plots.plot_calibration(said, done, counts)
        yield _plot(plot, "Told progress against the part of the episode that is over")
        yield "<p>On the dashed line it is right; the larger a point, the more plans.</p>"


def make_latency(summary: Mapping, results: Sequence[Result]) -> Iterator[str]:
    """How long plans took, when they were recorded and in the replay."""
    told = {name: of for name, of in summary["latency_ms"].items() if of}
    if not told:
        return
    head: list[Cell] = ["stage (ms)"]
    for name in told:
        head += [Number(f"{name}, median"), Number("99 of 100")]
    stages = [stage for stage in next(iter(told.values())) if stage != "count"]
    rows = [
        [
            _STAGES.get(stage, stage),
            *(_cell(of[stage][key], "") for of in told.values() for key in ("p50", "p99")),
        ]
        for stage in stages
    ]
    yield make_table(head, rows)
    groups = {
        name: np.concatenate([r.read_plans()[f"latency_{name}"] for r in results]).sum(axis=1)
        for name in told
    }
    plot = plots.plot_histogram(groups, "from observation to plan (ms)", "plans")
    yield _plot(plot, "Latency of plans")


def find_units(summary: Mapping) -> dict[str, str]:
    """By column."""
    space = Space(summary["space"])
    joints, grippers = summary["joints"], summary["grippers"]
    return {name: find_unit(name, space, joints, grippers) for name in summary["columns"]}


def _cell(value: float | None, unit: str) -> Number:
    return Number(say_figure(value, unit), value) if value is not None else Number(UNKNOWN)


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array(values, dtype=float)


def _band(estimates: Sequence[Mapping], scale: float) -> plots.Band:
    """Value, low and high (N,); without an interval the value thrice."""
    found = [_numbers([one[key] for one in estimates]) * scale for key in ("value", "low", "high")]
    value, low, high = found
    return value, np.where(np.isnan(low), value, low), np.where(np.isnan(high), value, high)


def _plot(plot: bytes, text: str) -> str:
    return f'<div class="plots"><figure>{embed(plot, "svg+xml", text)}</figure></div>'


def _figure(plot: bytes, title: str) -> str:
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>{embed(plot, 'svg+xml', title)}</figure>"
    )
