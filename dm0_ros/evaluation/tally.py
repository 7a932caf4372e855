# SPDX-License-Identifier: Apache-2.0
"""A result made small: what each of its episodes adds to the figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dm0_ros.evaluation.grippers import CLOSES, OPENS
from dm0_ros.evaluation.result import Result
from dm0_ros.evaluation.seams import MOTIONS

_DONE = ("", "succeeded")  # outcomes of episodes whose length says how much of them was done


@dataclass(frozen=True, eq=False)
class Part:
    """What one episode adds: sums and how much they are of, by figure. See `tally` for shapes."""

    bag: str  # key
    number: int  # of the episode in its bag
    facts: Mapping  # of the episode, of result.json
    plans: int
    sums: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    greatest: dict[str, np.ndarray] = field(default_factory=dict)  # by motion, (J,)
    latencies: dict[str, np.ndarray] = field(default_factory=dict)  # (p, 4) ms
    progress: list[np.ndarray] = field(default_factory=list)  # (p, 2) said, done


def tally(
    result: Result, plans: dict[str, np.ndarray] | None = None, ranges: np.ndarray | None = None
) -> list[Part]:
    """The episodes of a result. Of figures that do not apply, counts are 0.

    ``plans`` in place of all that were made, ``ranges`` (D,) in place of the checkpoint's own.

    Shapes: errors (H, D), of poses (H, A), overlap (D,), switches by way (2,), motions (J,), the
    others ().
    """
    plans = result.read_plans() if plans is None else plans
    ranges = result.ranges if ranges is None or len(ranges) != len(result.columns) else ranges
    return [
        _tally(result, plans, ranges, number, facts)
        for number, facts in enumerate(result.content["episodes"])
    ]


def _tally(result: Result, plans: dict, ranges: np.ndarray, number: int, facts: Mapping) -> Part:
    mine = plans["episode"] == number
    chosen = {name: values[mine] for name, values in plans.items() if name != "switches"}
    part = Part(result.key, number, facts, int(mine.sum()))
    sums = part.sums
    for name in ("action", "plan"):
        errors = chosen[f"{name}_errors"].astype(np.float64)
        sums[f"{name}_absolute"] = _add(np.abs(errors))
        sums[f"{name}_square"] = _add(errors**2)
        sums[f"{name}_normalised"] = _add(np.abs(errors) / ranges)
    for index, name in enumerate(("pose_mm", "pose_degrees")):
        sums[name] = _add(chosen["pose_errors"][..., index].astype(np.float64))
    sums["overlap"] = _add(chosen["overlap"].astype(np.float64))
    sums["overlap_normalised"] = _add(chosen["overlap"] / ranges)
    for index, name in enumerate(("scaffold_valid", "scaffold_iou", "scaffold_path")):
        sums[name] = _add(chosen["scaffold"][:, index].astype(np.float64))
    _add_switches(part, plans["switches"], np.flatnonzero(mine))
    _add_progress(part, chosen)
    _add_motion(part, len(result.content["joints"]))
    for name in ("live", "replayed"):
        part.latencies[name] = chosen[f"latency_{name}"]
    return part


def _add(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum and count of the known ones over the first axis."""
    known = np.isfinite(values)
    return np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0).astype(np.float64)


def _add_switches(part: Part, switches: np.ndarray, plans: np.ndarray) -> None:
    """(s,) by way: how late those of a pair are; and how many have no partner."""
    switches = switches[np.isin(switches[:, 0], plans)]
    recorded, planned = np.isfinite(switches[:, 3]), np.isfinite(switches[:, 4])
    both = recorded & planned
    late = switches[:, 4] - switches[:, 3]
    by_way = [switches[:, 2] == way for way in (OPENS, CLOSES)]

    def count(chosen: np.ndarray, values: np.ndarray | float = 1.0) -> np.ndarray:
        filled = np.where(chosen, values, 0.0)
        return np.array([filled[way].sum() for way in by_way])

    pairs = count(both)
    part.sums["switch_late"] = count(both, late), pairs
    part.sums["switch_off"] = count(both, np.abs(late)), pairs
    part.sums["switch_missed"] = count(recorded & ~planned), count(recorded)
    part.sums["switch_spurious"] = count(planned & ~recorded), count(planned)


def _add_progress(part: Part, plans: dict) -> None:
    """Said progress against the share of the episode's time that has passed."""
    facts = part.facts
    length = facts["end"] - facts["begin"]
    judged = facts["ended"] and facts["outcome"] in _DONE and length > 0
    done = (plans["moment"] - facts["begin"]) / length if judged else np.empty(0)
    said = plans["progress"] if judged else np.empty(0)
    known = np.isfinite(said)
    pairs = np.stack([said[known], np.clip(done[known], 0.0, 1.0)], axis=1)
    part.progress.append(pairs)
    apart = pairs[:, 0] - pairs[:, 1]
    part.sums["progress_error"] = _add(np.abs(apart))
    part.sums["progress_bias"] = _add(apart)


def _add_motion(part: Part, joints: int) -> None:
    motion = part.facts.get("motion") or {}
    for name in MOTIONS:
        told = motion.get(name, {})
        none = np.zeros(joints)
        squares, ticks = (np.array(told.get(key, none)) for key in ("squares", "ticks"))
        part.sums[name] = squares, ticks
        part.greatest[name] = np.array(told.get("greatest", none))
