# SPDX-License-Identifier: Apache-2.0
"""Results of many bags in one table. Neither their order nor who made them matters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dm0_ros.errors import Dm0Error
from dm0_ros.evaluation.estimates import Resampler, estimate_share, plain
from dm0_ros.evaluation.result import Result
from dm0_ros.evaluation.result import read_result as read_result
from dm0_ros.evaluation.seams import MOTIONS
from dm0_ros.evaluation.sheet import LATENCIES
from dm0_ros.evaluation.tally import Part, tally

# Means over everything that was counted: figure, and what of `tally` it is of.
_MEANS = {
    "normalised_error": "action_normalised",
    "normalised_error_of_plans": "plan_normalised",
    "pose_mm": "pose_mm",
    "pose_degrees": "pose_degrees",
    "overlap_normalised": "overlap_normalised",
    "switch_late_s": "switch_late",
    "switch_off_s": "switch_off",
    "progress_error": "progress_error",
    "progress_bias": "progress_bias",
    "scaffold_iou": "scaffold_iou",
    "scaffold_path_error": "scaffold_path",
}
_SHARES = {
    "switches_missed": "switch_missed",
    "switches_spurious": "switch_spurious",
    "scaffold_valid": "scaffold_valid",
}
_SHAPE = ("robot", "columns", "space", "horizon", "step", "arms", "grippers", "joints")
_BINS = 10  # of progress


def summarise(results: Sequence[Result]) -> dict:
    """The table, for JSON; see docs/evaluation.md for what it holds.

    Raises `Dm0Error` where a bag is there twice, where there is none, or where the results are of
    different robots or layouts: their columns cannot be counted together.
    """
    results = sorted(results, key=lambda result: result.key)
    check_alike(results)
    parts = [part for result in results for part in tally(result)]
    contents = [result.content for result in results]
    return {
        **{name: contents[0][name] for name in _SHAPE},
        "setting": contents[0]["setting"],
        "checkpoints": sorted({content["checkpoint"] for content in contents}),
        "ranges": contents[0]["ranges"],
        "seconds": sum(content["seconds"] for content in contents),
        "overall": _describe(parts),
        "by_column": _by_column(parts, contents[0]),
        "by_row": _by_row(parts, contents[0]),
        "grid": _grid(parts, contents[0]),
        "motion": _motion(parts, contents[0]),
        "calibration": _calibrate(parts),
        "latency_ms": {name: _latency(parts, name) for name in ("live", "replayed")},
        "scaffold_sources": sorted({content["scaffold_source"] for content in contents}),
        "outcomes": _outcomes(parts),
        "by_bag": {result.key: _bag(result, parts) for result in results},
        "by_instruction": _by_instruction(parts),
        "by_episode": [_episode(part) for part in parts],
    }


def check_alike(results: Sequence[Result]) -> None:
    """Raises `Dm0Error` where results cannot be counted together."""
    if not results:
        raise Dm0Error("no bag was evaluated: there is nothing to sum up")
    keys = [result.key for result in results]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise Dm0Error(f"{', '.join(twice)}: there twice; each bag counts once")
    first = results[0].content
    for result in results[1:]:
        for name in _SHAPE:
            if result.content[name] != first[name]:
                raise Dm0Error(
                    f"{result.content['bag']} and {first['bag']} have another {name}: "
                    f"{result.content[name]} and {first[name]}; evaluate them separately"
                )


def _stack(parts: Sequence[Part], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Sums and counts (E, ...) of a figure."""
    pairs = [part.sums[name] for part in parts]
    return np.stack([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs])


def _whole(array: np.ndarray) -> np.ndarray:
    """(E,) of (E, ...)."""
    return array.reshape(len(array), -1).sum(axis=1)


def _describe(parts: Sequence[Part]) -> dict:
    """The figures of a group of episodes."""
    resampler = Resampler(len(parts))
    figures: dict = {"episodes": len(parts), "plans": sum(part.plans for part in parts)}
    for figure, name in _MEANS.items():
        sums, counts = map(_whole, _stack(parts, name))
        figures[figure] = resampler.estimate(sums, counts).describe()
    for figure, name in _SHARES.items():
        hits, counts = map(_whole, _stack(parts, name))
        figures[figure] = estimate_share(hits.sum(), counts.sum(), int((counts > 0).sum()))
    for motion in MOTIONS:
        squares, ticks = map(_whole, _stack(parts, motion))
        figures[f"{motion}_rms"] = resampler.estimate(squares, ticks).root().describe()
    return figures


def _by_column(parts: Sequence[Part], content: dict) -> dict:
    """By column, over all rows: errors from actions and from recorded plans, and overlaps."""
    resampler, table = Resampler(len(parts)), {name: {} for name in content["columns"]}
    for kind in ("action", "plan"):
        found = {
            figure: resampler.estimate(
                *(array.sum(axis=1) for array in _stack(parts, f"{kind}_{name}"))
            )
            for figure, name in (
                ("mae", "absolute"),
                ("rmse", "square"),
                ("normalised", "normalised"),
            )
        }
        found["rmse"] = found["rmse"].root()
        for place, column in enumerate(content["columns"]):
            table[column][kind] = {name: one.describe(place) for name, one in found.items()}
    overlap = resampler.estimate(*_stack(parts, "overlap"))
    for place, column in enumerate(content["columns"]):
        table[column]["overlap"] = overlap.describe(place)
    return table


def _by_row(parts: Sequence[Part], content: dict) -> list[dict]:
    """By row of the plan, over all columns or arms."""
    resampler = Resampler(len(parts))
    names = {
        "normalised": "action_normalised",
        "normalised_of_plans": "plan_normalised",
        "pose_mm": "pose_mm",
        "pose_degrees": "pose_degrees",
    }
    found = {
        figure: resampler.estimate(*(array.sum(axis=2) for array in _stack(parts, name)))
        for figure, name in names.items()
    }
    return [
        {"row": row, "seconds": row * content["step"]}
        | {name: one.describe(row) for name, one in found.items()}
        for row in range(content["horizon"])
    ]


def _grid(parts: Sequence[Part], content: dict) -> dict:
    """By column and row, lists of H numbers: MAE with its interval, RMSE, normalised error."""
    resampler, grid = Resampler(len(parts)), {}
    for kind in ("action", "plan"):
        error = resampler.estimate(*_stack(parts, f"{kind}_absolute"))
        square = resampler.estimate(*_stack(parts, f"{kind}_square")).root()
        normalised = resampler.estimate(*_stack(parts, f"{kind}_normalised"))
        numbers = {
            "mae": error.value,
            "mae_low": error.low,
            "mae_high": error.high,
            "rmse": square.value,
            "rmse_low": square.low,
            "rmse_high": square.high,
            "normalised": normalised.value,
            "normalised_low": normalised.low,
            "normalised_high": normalised.high,
            "count": error.count,
        }
        grid[kind] = {
            column: {name: [plain(x) for x in of[:, place]] for name, of in numbers.items()}
            for place, column in enumerate(content["columns"])
        }
    return grid


def _motion(parts: Sequence[Part], content: dict) -> dict | None:
    """By joint: RMS and greatest velocity, acceleration and jerk of rehearsed commands."""
    resampler = Resampler(len(parts))
    found = {name: resampler.estimate(*_stack(parts, name)).root() for name in MOTIONS}
    if not any(one.count.any() for one in found.values()):
        return None
    greatest = {n: np.max([part.greatest[n] for part in parts], axis=0) for n in MOTIONS}
    return {
        joint: {
            name: {"rms": found[name].describe(place), "greatest": float(greatest[name][place])}
            for name in MOTIONS
        }
        for place, joint in enumerate(content["joints"])
    }


def _calibrate(parts: Sequence[Part]) -> list[dict] | None:
    """By tenths of what was said: its mean, the mean share of episodes' time that had passed."""
    pairs = np.concatenate([one for part in parts for one in part.progress])
    if not len(pairs):
        return None
    said, done = pairs.T
    places = np.minimum((said * _BINS).astype(int), _BINS - 1)
    return [
        {
            "from": place / _BINS,
            "count": int((places == place).sum()),
            "said": float(said[places == place].mean()),
            "done": float(done[places == place].mean()),
        }
        for place in np.unique(places).tolist()
    ]


def _latency(parts: Sequence[Part], name: str) -> dict | None:
    """Median and 99th percentile over plans, by stage and in total, ms."""
    stages = np.concatenate([part.latencies[name] for part in parts]).astype(np.float64)
    stages = stages[np.isfinite(stages).all(axis=1)]
    if not len(stages):
        return None
    columns = dict(zip(LATENCIES, stages.T, strict=True)) | {"total": stages.sum(axis=1)}
    return {
        stage: {"p50": float(np.percentile(of, 50)), "p99": float(np.percentile(of, 99))}
        for stage, of in columns.items()
    } | {"count": len(stages)}


def _outcomes(parts: Sequence[Part]) -> dict:
    """How the recorded episodes ended, as shares of those that somebody judged."""
    said = [part.facts["outcome"] for part in parts if part.facts["outcome"]]
    return {
        outcome: estimate_share(said.count(outcome), len(said), len(said))
        for outcome in sorted(set(said))
    }


def _bag(result: Result, parts: Sequence[Part]) -> dict:
    content = result.content
    kept = ("bag", "checkpoint", "seconds", "compared", "max_abs_difference")
    kept += ("identical_observations", "not_replayed", "differences", "executor", "timing")
    facts = {name: content[name] for name in kept}
    return facts | {"figures": _describe([part for part in parts if part.bag == result.key])}


def _by_instruction(parts: Sequence[Part]) -> dict:
    groups: dict[str, list[Part]] = {}
    for part in parts:
        groups.setdefault(part.facts["instruction"], []).append(part)
    return {name: _describe(groups[name]) for name in sorted(groups)}


def _episode(part: Part) -> dict:
    """Of one episode there are no intervals."""
    figures = _describe([part])
    facts = {name: value for name, value in part.facts.items() if name != "motion"}
    values = {
        name: figure["value"] if isinstance(figure, dict) else figure
        for name, figure in figures.items()
        if name != "episodes"
    }
    return {"bag": part.bag, **facts, **values}
