# SPDX-License-Identifier: Apache-2.0
"""Two settings over the same plans of the same episodes: which is better, and is that chance?

The test flips signs: had the two settings been the same, the difference of an episode might as
well have been the other way round. All 2^E ways are tried where there are few episodes, else
`_DRAWS` drawn ones with a fixed seed. Episodes are what is flipped, for plans of one are alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dm0_ros.errors import Dm0Error
from dm0_ros.evaluation.estimates import Resampler, plain
from dm0_ros.evaluation.result import Result
from dm0_ros.evaluation.summary import check_alike
from dm0_ros.evaluation.tally import Part, tally

_EXACT = 14  # episodes up to which every way is tried
_DRAWS = 20_000
_SEED = 0
_LEVEL = 0.05
_LEAST = 6  # episodes: with 5 no p is below 2 / 2^5 = 0.06
# Figures of which less is better, and what of `tally` they are of; the first is the main one.
_FIGURES = {
    "normalised_error": "action_normalised",
    "pose_mm": "pose_mm",
    "pose_degrees": "pose_degrees",
    "overlap_normalised": "overlap_normalised",
    "switch_off_s": "switch_off",
    "switches_missed": "switch_missed",
    "switches_spurious": "switch_spurious",
    "progress_error": "progress_error",
    "acceleration_rms": "acceleration",
    "jerk_rms": "jerk",
}
_OF_COLUMNS = {"normalised_error", "overlap_normalised"}
_ROOTS = {"acceleration", "jerk"}


def compare(first: Sequence[Result], second: Sequence[Result]) -> dict:
    """``second`` minus ``first``, for JSON: only plans that both made, and rows known to both.

    Errors of both are normalised by the ranges of ``first``. Raises `Dm0Error` where the two have
    no plan in common, or cannot be compared.
    """
    check_alike(first)
    check_alike(second)
    others = {result.key: result for result in second}
    pairs, missing = [], []
    for result in sorted(first, key=lambda result: result.key):
        if result.key in others:
            pairs += _pair(result, others[result.key])
        else:
            missing.append(result.content["bag"])
    if not pairs:
        raise Dm0Error("the two settings have no plan in common: nothing can be compared")
    alike = first[0].columns == second[0].columns
    figures = {
        figure: _compare(pairs, name)
        for figure, name in _FIGURES.items()
        if alike or figure not in _OF_COLUMNS
    }
    _correct(figures)
    return {
        "first": sorted({result.content["checkpoint"] for result in first}),
        "second": sorted({result.content["checkpoint"] for result in second}),
        "bags": len({one.bag for one, _ in pairs}),
        "episodes": len(pairs),
        "plans": sum(one.plans for one, _ in pairs),
        "only_in_first": missing,
        "only_in_second": [r.content["bag"] for r in second if r.key not in _keys(first)],
        "main": "normalised_error" if alike else "pose_mm",
        "columns": {
            column: _compare(pairs, "action_absolute", place)
            for place, column in enumerate(first[0].columns if alike else ())
        },
        "figures": figures,
        "notes": _note(len(pairs), alike, first[0], second[0]),
    }


def _keys(results: Sequence[Result]) -> set[str]:
    return {result.key for result in results}


def _pair(first: Result, second: Result) -> list[tuple[Part, Part]]:
    """Both parts of every episode in which both planned, of the plans and rows that both have."""
    one, other = first.read_plans(), second.read_plans()
    # Of one bag, both planned when the recording said, or at the same times of their own.
    moments, here, there = np.intersect1d(one["moment"], other["moment"], return_indices=True)
    if not len(moments):
        return []
    one, other = _choose(one, here), _choose(other, there)
    for name in ("action_errors", "pose_errors", "overlap"):
        if one[name].shape == other[name].shape:
            known = np.isfinite(one[name]) & np.isfinite(other[name])
            one[name], other[name] = (np.where(known, x[name], np.nan) for x in (one, other))
    there = {part.facts["name"]: part for part in tally(second, other, first.ranges)}
    return [
        (part, there[name])
        for part in tally(first, one, first.ranges)
        if part.plans and (name := part.facts["name"]) in there
    ]


def _choose(plans: Mapping, chosen: np.ndarray) -> dict[str, np.ndarray]:
    """Some of the plans, in that order, with their switches."""
    kept = {name: values[chosen] for name, values in plans.items() if name != "switches"}
    switches = plans["switches"]
    places = {int(plan): place for place, plan in enumerate(chosen)}
    rows = [(places[int(row[0])], *row[1:]) for row in switches if int(row[0]) in places]
    kept["switches"] = np.array(rows, np.float64).reshape(-1, switches.shape[1])
    return kept


def _compare(pairs: Sequence[tuple[Part, Part]], name: str, column: int | None = None) -> dict:
    """One figure: means, their difference with its interval, and p."""
    sums = np.array([[_total(part, name, column) for part in pair] for pair in pairs])
    both = (sums[:, :, 1] > 0).all(axis=1)
    sums = sums[both]
    if not len(sums):
        return dict.fromkeys(("first", "second", "difference", "low", "high", "p"), None) | {
            "episodes": 0,
            "better": 0,
            "effect": None,
        }
    values = sums[:, :, 0] / sums[:, :, 1]
    values = np.sqrt(values) if name in _ROOTS else values
    differences = values[:, 1] - values[:, 0]
    ones = np.ones(len(differences))
    found = Resampler(len(differences)).estimate(differences, ones)
    spread = differences.std(ddof=1) if len(differences) > 1 else np.nan
    return {
        "first": float(values[:, 0].mean()),
        "second": float(values[:, 1].mean()),
        "difference": float(differences.mean()),
        "low": plain(found.low),
        "high": plain(found.high),
        "p": sign_flip(differences),
        "effect": plain(differences.mean() / spread) if spread else None,
        "episodes": len(differences),
        "better": int((differences < 0).sum()),
    }


def _total(part: Part, name: str, column: int | None) -> tuple[float, float]:
    sums, counts = part.sums[name]
    if column is not None:
        sums, counts = sums[..., column], counts[..., column]
    return float(np.sum(sums)), float(np.sum(counts))


def sign_flip(differences: np.ndarray) -> float:
    """Two-sided p of paired differences (E,): the share of ways to flip their signs that bring the
    mean at least as far from 0. Of drawn ways the given one counts too (Phipson & Smyth, 2010)."""
    differences = np.asarray(differences, np.float64)
    count, seen = len(differences), abs(differences.sum())
    if count <= _EXACT:
        bits = np.arange(1 << count)[:, None] >> np.arange(count) & 1
        return float(np.mean(_reach(2.0 * bits - 1.0, differences, seen)))
    generator, far = np.random.default_rng(_SEED), 0
    for first in range(0, _DRAWS, 1000):
        signs = generator.choice([-1.0, 1.0], size=(min(1000, _DRAWS - first), count))
        far += int(_reach(signs, differences, seen).sum())
    return (1 + far) / (1 + _DRAWS)


def _reach(signs: np.ndarray, differences: np.ndarray, seen: float) -> np.ndarray:
    """Which ways (n, E) bring the sum that far; rounding must not decide between equal sums."""
    rounding = 1e-9 * np.abs(differences).sum()
    return np.abs(signs @ differences) >= seen - rounding


def _correct(figures: dict) -> None:
    """Adds Holm's p (1979): who looks at many figures finds some that differ by chance."""
    told = sorted((f for f in figures.values() if f["p"] is not None), key=lambda f: f["p"])
    greatest = 0.0
    for place, figure in enumerate(told):
        greatest = max(greatest, min(1.0, (len(told) - place) * figure["p"]))
        figure["p_holm"] = greatest


def _note(episodes: int, alike: bool, first: Result, second: Result) -> list[str]:
    notes = []
    if episodes < _LEAST:
        least = 2 / 2**episodes
        notes.append(
            f"{episodes} episodes in common: no difference, however large, can get a p below "
            f"{min(1.0, least):.2g}, so nothing can be significant at {_LEVEL:g}; "
            f"{_LEAST} are the least, some dozens are useful"
        )
    if not alike:
        notes.append(
            f"the settings plan other columns ({', '.join(first.columns)}; "
            f"{', '.join(second.columns)}): compared by poses of the end effectors"
        )
    return notes
