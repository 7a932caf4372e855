# SPDX-License-Identifier: Apache-2.0
"""How far a fast path may lie from the one that it replaces, stage by stage.

The limits are those of the plan (facts: performance.md, section 5). They hold for relative errors
||out - reference|| / ||reference||, on real observations and the same noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import torch
from torch import Tensor

from dm0_ros.errors import Dm0Error


class GateError(Dm0Error):
    """A fast path lies too far from its oracle."""


class Stage(str, Enum):
    """What is compared."""

    VISION = "vision tokens"
    KEYS_VALUES = "prefix keys and values"  # (layers, ...): the worst layer counts
    VELOCITY = "velocity"
    ACTIONS = "actions"


class Change(str, Enum):
    """In what the fast path differs from its reference."""

    ORDER = "float32, other order of operations"
    BFLOAT16 = "bfloat16 against float32"
    STEP = "one measure for speed, in bfloat16"
    FP8 = "8-bit products against float32"
    REPLAY = "graph replay against the same code run directly"
    PADDING_FLOAT32 = "padding left out or views batched, in float32"
    PADDING_BFLOAT16 = "padding left out or views batched, in bfloat16"


_BFLOAT16 = {
    Stage.VISION: 1e-2,
    Stage.KEYS_VALUES: 1.5e-2,
    Stage.VELOCITY: 1e-2,
    Stage.ACTIONS: 1.5e-2,
}
LIMITS: Mapping[Change, Mapping[Stage, float]] = {
    Change.ORDER: dict.fromkeys(Stage, 1e-5),
    Change.BFLOAT16: _BFLOAT16,
    Change.STEP: {stage: limit / 3 for stage, limit in _BFLOAT16.items()},
    # Only where it counts: single stages may be further off.
    Change.FP8: {Stage.ACTIONS: 3e-2},
    Change.REPLAY: dict.fromkeys(Stage, 1e-6),
    Change.PADDING_FLOAT32: dict.fromkeys(Stage, 1e-6),
    Change.PADDING_BFLOAT16: dict.fromkeys(Stage, 1e-3),
}
SPREAD_SHARE = 0.05
"""Of the spread that the noise's seed makes: what 8-bit products may add to it."""


def relative_error(out: Tensor, reference: Tensor) -> float:
    """||out - reference|| / ||reference||; NaN where `out` has NaN, 0 where both are zero."""
    if out.shape != reference.shape:
        raise GateError(
            f"shapes {tuple(out.shape)} and {tuple(reference.shape)} cannot be compared"
        )
    difference = (out.double() - reference.double()).norm()
    return 0.0 if difference == 0 else float(difference / reference.double().norm())


def column_errors(out: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute error of each action column, (D,), in the unit of out (..., D)."""
    return (out.double() - reference.double()).abs().flatten(0, -2).mean(0)


def check(stage: Stage, out: Tensor, reference: Tensor, change: Change) -> float:
    """The relative error, or `GateError` where it is beyond the limit, or not a number."""
    if stage not in LIMITS[change]:
        raise GateError(f"there is no limit on {stage.value} for: {change.value}")
    where = stage.value
    if stage is Stage.KEYS_VALUES:
        errors = [relative_error(*pair) for pair in zip(out, reference, strict=True)]
        # A NaN is the worst of all, but max() would pass it over.
        worst = max(range(len(errors)), key=lambda layer: _order(errors[layer]))
        error, where = errors[worst], f"{where}, layer {worst}"
    else:
        error = relative_error(out, reference)
    limit = LIMITS[change][stage]
    if not error <= limit:
        raise GateError(
            f"{where}: relative error {error:.2e} is beyond the limit {limit:.1e} ({change.value})"
        )
    return error


def check_against_seeds(out: Tensor, reference: Tensor) -> float:
    """The error of actions (seeds, ..., H, D) as a share of their spread over the noise's seeds.

    Root mean squares over all rows and columns; at least two seeds. Raises `GateError` where the
    share is beyond `SPREAD_SHARE`, or not a number.
    """
    if len(reference) < 2:
        raise GateError("the spread between seeds needs actions of at least two seeds")
    spread = reference.double().var(0).mean().sqrt()
    share = float((out.double() - reference.double()).square().mean().sqrt() / spread)
    if not share <= SPREAD_SHARE:
        raise GateError(
            f"{Stage.ACTIONS.value}: error is {share:.1%} of the spread between noise seeds, "
            f"beyond {SPREAD_SHARE:.0%}"
        )
    return share


def _order(error: float) -> float:
    return error if error == error else torch.inf
