# SPDX-License-Identifier: Apache-2.0
"""What a run began with. It goes on with that or not at all.

Weights that were learnt from some numbers mean nothing beside the statistics of others.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dm0_ros.policy.normalisation import NormStats, VectorStats, load_stats, save_stats
from dm0_ros.training.recipe import Recipe, RecipeError
from dm0_ros.training.trainer import STATE

_FILE = "run.json"
# How a run is computed, not what comes of it, but for rounding; and how long, for who is not
# content may go on for more steps.
_FREE = ("loaders", "optimiser.save_every", "optimiser.recompute", "optimiser.steps")
_CLOSE = 1e-6  # relative: another machine may add the same numbers in another order
_REMEDY = "go on with what it began with, or give another folder with --out"


def check_settings(folder: Path, recipe: Recipe, seed: int) -> None:
    """Note recipe and seed of a run; where it has learnt something already, compare them.

    Raises `RecipeError` that names the first key that is not as it was.
    """
    file = folder / _FILE
    told = json.loads(json.dumps(_flatten({"seed": seed, **asdict(recipe)}), default=str))
    if not _has_begun(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        return
    if not file.exists():
        raise RecipeError(f"{folder} does not say what its training began with: {_REMEDY}")
    known = json.loads(file.read_text(encoding="utf-8"))
    for key in sorted(known.keys() | told.keys()):
        if known.get(key) != told.get(key):
            raise RecipeError(
                f"{folder}: its training began with {key} {known.get(key)!r}, not "
                f"{told.get(key)!r}: {_REMEDY}"
            )


def keep_stats(folder: Path, stats: NormStats, leads: bool) -> NormStats:
    """The statistics that a run began with, which are ``stats`` where it begins now.

    The process that ``leads`` notes them. Raises `RecipeError` where the data have others since.
    """
    if not _has_begun(folder):
        if leads:
            save_stats(stats, folder)
        return stats
    known = load_stats(folder, len(stats.action.low))
    for name in ("action", "state"):
        if not _equal(getattr(known, name), getattr(stats, name)):
            raise RecipeError(
                f"{folder}: the data have other statistics of the {name} than when its training "
                f"began: {_REMEDY}"
            )
    return known


def _has_begun(folder: Path) -> bool:
    return (folder / STATE).exists()


def _flatten(section: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in section.items():
        name = f"{path}{key}"
        if isinstance(value, Mapping):
            found |= _flatten(value, f"{name}.")
        elif name not in _FREE:
            found[name] = value
    return found


def _equal(one: VectorStats | None, other: VectorStats | None) -> bool:
    if one is None or other is None:
        return one is other
    pairs = zip(asdict(one).values(), asdict(other).values(), strict=True)
    return all(np.allclose(a, b, rtol=_CLOSE, atol=_CLOSE) for a, b in pairs)
