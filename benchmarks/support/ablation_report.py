# SPDX-License-Identifier: Apache-2.0
"""Results of cells to figures with intervals, and figures to the table and plot of the docs."""

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from support.ablation_cells import CELLS
from support.ablation_trials import KINDS

from dm0_ros.intervals import bootstrap, wilson

COMPARISONS = (
    *((cell.name, "none") for cell in CELLS if cell.levels and cell.decouple),
    ("trajectory", "trajectory_coupled"),
    ("action", "action_coupled"),
)
"""Which cell is compared with which."""
BEGIN, END = "<!-- table: written by benchmarks/ablation.py -->", "<!-- end of table -->"
_WAYS = ("written", "chosen")
_LABELS = {
    "none": "nothing",
    "subtask": "subtask",
    "box": "+ box",
    "trajectory": "+ trajectory",
    "action": "+ discrete action",
    "trajectory_coupled": "to trajectory, coupled",
    "action_coupled": "to discrete action, coupled",
}


def summarise_cells(results: Sequence[dict], time_limit: float) -> dict:
    """Figures of all finished cells; the stages before are results of cell `first`.

    An episode that was as long as ``time_limit`` (s) ended without a touch.
    """
    by_cell: dict[str, dict[int, dict]] = defaultdict(dict)
    for result in results:
        by_cell[result["cell"]][result["seed"]] = result
    firsts = by_cell.pop("first", {})
    cells = {
        cell.name: _summarise_cell(by_cell[cell.name], firsts, time_limit)
        for cell in CELLS
        if by_cell.get(cell.name)
    }
    comparisons = [
        {"cell": one, "against": other, **compare(by_cell[one], by_cell[other])}
        for one, other in COMPARISONS
        if set(by_cell.get(one, {})) & set(by_cell.get(other, {}))
    ]
    return {"cells": cells, "comparisons": comparisons}


def _summarise_cell(runs: dict[int, dict], firsts: dict[int, dict], time_limit: float) -> dict:
    figures: dict = {"seeds": sorted(runs)}
    for kind in KINDS:
        own = [episode["success"] for run in runs.values() for episode in of_kind(run, kind)]
        low, high = wilson(sum(own), len(own)) if own else (None, None)
        figures[kind] = {
            "episodes": len(own),
            "successes": sum(own),
            "success_95": [low, high],
            "by_seed": [
                _mean(episode["success"] for episode in of_kind(runs[seed], kind))
                for seed in sorted(runs)
            ],
        }
    episodes = [episode for run in runs.values() for episode in run["episodes"]]
    missed = [not e["success"] and e["seconds"] >= time_limit for e in episodes]
    figures["untouched"] = sum(missed)
    scores = [score for episode in episodes for score in episode.get("scores", ())]
    figures["plans"] = len(scores)
    for name in ("valid", "subtask", "box_iou", "path_error"):
        values = [score[name] for score in scores if score[name] is not None]
        figures[name] = _mean(values)
    figures["questions"] = {way: _compare_answers(runs, firsts, way) for way in _WAYS}
    figures["seconds"] = [runs[seed]["seconds"] for seed in sorted(runs)]
    return figures


def of_kind(run: dict, kind: str) -> list[dict]:
    """Episodes of a kind in the order of their numbers."""
    own = [episode for episode in run["episodes"] if episode["kind"] == kind]
    return sorted(own, key=lambda episode: episode["number"])


def _compare_answers(runs: dict[int, dict], firsts: dict[int, dict], way: str) -> dict:
    """Shares of right answers before and after the actions were learnt, on the same questions."""
    before, after, groups = [], [], defaultdict(list)
    for seed in sorted(set(runs) & set(firsts)):
        pairs = zip(firsts[seed]["answers"], runs[seed]["answers"], strict=True)
        for one, other in pairs:
            before.append(one[way])
            after.append(other[way])
            groups[seed, one["frame"]].append(float(other[way]) - float(one[way]))
    return {
        "questions": len(after),
        "before": _mean(before),
        "after": _mean(after),
        "change": _mean(np.subtract(after, before, dtype=float)),
        "change_95": bootstrap(list(groups.values())),
    }


def compare(one: dict[int, dict], other: dict[int, dict]) -> dict:
    """Differences between two cells on the same trials of the same seeds, and questions."""
    figures: dict = {}
    seeds = sorted(set(one) & set(other))
    for kind in KINDS:
        pairs = [
            (first, second)
            for seed in seeds
            for first, second in zip(
                of_kind(one[seed], kind), of_kind(other[seed], kind), strict=True
            )
        ]
        figures[kind] = _differ([[float(a["success"]) - float(b["success"])] for a, b in pairs])
    for way in _WAYS:
        groups: dict[tuple, list[float]] = defaultdict(list)
        for seed in seeds:
            for a, b in zip(one[seed]["answers"], other[seed]["answers"], strict=True):
                groups[seed, a["frame"]].append(float(a[way]) - float(b[way]))
        figures[way] = _differ(list(groups.values()))
    return figures


def _differ(groups: list[list[float]]) -> dict:
    return {
        "difference": _mean(value for group in groups for value in group),
        "difference_95": bootstrap(groups),
    }


def _mean(values: Iterable[float]) -> float | None:
    numbers = [float(value) for value in values]
    return float(np.mean(numbers)) if numbers else None


def make_table(figures: dict) -> str:
    """Markdown: what each cell came to, then the differences."""
    lines = [
        "| says | gradients | seen, % | new, % | wrong / no touch | valid | box IoU | path, px "
        "| questions written, % | still chosen, % |",
        "| --- " * 10 + "|",
    ]
    for cell in CELLS:
        if row := figures["cells"].get(cell.name):
            gradients = "decoupled" if cell.decouple else "coupled"
            parts = [_LABELS[cell.name], gradients, *(_share(row[kind]) for kind in KINDS)]
            failures = sum(row[kind]["episodes"] - row[kind]["successes"] for kind in KINDS)
            parts += [f"{failures - row['untouched']} / {row['untouched']}"]
            parts += [_number(row["valid"], 2), _number(row["box_iou"], 2)]
            parts += [_number(row["path_error"], 1)]
            parts += [_kept(row["questions"][way]) for way in _WAYS]
            lines.append(f"| {' | '.join(parts)} |")
    lines += ["", "| difference | seen | new | written | chosen |", "| --- " * 5 + "|"]
    for row in figures["comparisons"]:
        name = f"{_LABELS[row['cell']]} minus {_LABELS[row['against']]}"
        parts = [_difference(row[key]) for key in (*KINDS, *_WAYS)]
        lines.append(f"| {' | '.join([name, *parts])} |")
    return "\n".join(lines)


def _share(row: dict) -> str:
    if not row["episodes"]:
        return "-"
    low, high = row["success_95"]
    share = row["successes"] / row["episodes"]
    return f"{100 * share:.0f} ({100 * low:.0f} to {100 * high:.0f})"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _kept(row: dict) -> str:
    if row["after"] is None:
        return "-"
    return f"{100 * row['before']:.0f} → {100 * row['after']:.0f}"


def _difference(row: dict) -> str:
    if row["difference"] is None:
        return "-"
    low, high = row["difference_95"]
    return f"{100 * row['difference']:+.0f} ({100 * low:+.0f} to {100 * high:+.0f})"


def insert_table(path: Path, table: str) -> None:
    """Put the table between its marks in a page."""
    text = path.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    path.write_text(f"{head}{BEGIN}\n{table}\n{END}{tail}", encoding="utf-8")


def draw(path: Path, figures: dict) -> None:
    """Success and questions of every cell with intervals, as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cells = [cell for cell in CELLS if cell.name in figures["cells"]]
    places = np.arange(len(cells))
    figure, (above, below) = pyplot.subplots(2, 1, figsize=(8, 7), layout="constrained")
    for shift, kind in zip((-0.15, 0.15), KINDS, strict=True):
        rows = [figures["cells"][cell.name][kind] for cell in cells]
        shares = np.array([100 * row["successes"] / max(1, row["episodes"]) for row in rows])
        bounds = 100 * np.array([row["success_95"] for row in rows], float).T
        error = np.abs(bounds - shares)
        above.errorbar(places + shift, shares, error, fmt="o", capsize=3, label=kind)
    for shift, way in zip((-0.15, 0.15), _WAYS, strict=True):
        rows = [figures["cells"][cell.name]["questions"][way] for cell in cells]
        values = [[100 * (row[key] or 0) for row in rows] for key in ("before", "after")]
        below.plot(places + shift, values[0], "_", markersize=14, color="grey")
        below.plot(places + shift, values[1], "o", label=f"{way}, after")
    above.set_ylabel("success, %")
    below.set_ylabel("questions right, %; grey: before")
    labels = [textwrap.fill(_LABELS[cell.name], 14) for cell in cells]
    for axis in (above, below):
        axis.set_xticks(places, labels, fontsize=8)
        axis.set_ylim(-5, 105)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="lower left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
