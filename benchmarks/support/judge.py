# SPDX-License-Identifier: Apache-2.0
"""How near a contender is to the oracle, stage by stage, and whether `engine.gates` let it by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from support.contenders import Contender, Eager, Look
from support.scenes import Scene

from dm0_ros.engine.gates import (
    LIMITS,
    SPREAD_SHARE,
    Change,
    GateError,
    Stage,
    check,
    check_against_seeds,
    relative_error,
)

CHANGES = {"fp32": Change.ORDER, "bf16": Change.BFLOAT16, "fp8": Change.FP8}
SEEDS = 3
"""Noises for one observation, whose spread 8-bit products are held against."""


class Judge:
    """Knows what the oracle, `Eager` in float32, makes of one observation on its way."""

    def __init__(self, oracle: Eager, batches: Sequence[Sequence[Scene]]) -> None:
        """`batches` of one robot each; the first is looked at, the others lend their noise."""
        first = batches[0]
        self._seeds = [
            [replace(one, noise=other.noise) for one, other in zip(first, batch, strict=True)]
            for batch in batches[:SEEDS]
        ]
        self._truth = _see(oracle, first)
        self._answers = _answer(oracle, self._seeds)

    def judge(self, contender: Contender) -> dict:
        """Relative errors by stage, their limits, and what is `beyond` them, in words."""
        change = CHANGES[contender.dtype]
        errors, beyond = {}, []
        for stage, seen in _see(contender, self._seeds[0]).items():
            truth = self._truth[stage]
            errors[stage.value] = relative_error(seen, truth)
            if stage in LIMITS[change]:
                beyond += _complain(check, stage, seen, truth, change)
        answers = _answer(contender, self._seeds)
        if change is Change.FP8:
            beyond += _complain(check_against_seeds, answers, self._answers)
        return {
            "change": change.value,
            "errors": errors,
            "limits": {stage.value: limit for stage, limit in LIMITS[change].items()},
            "share_of_seeds": _measure_share(answers, self._answers),
            "largest_share_of_seeds": SPREAD_SHARE if change is Change.FP8 else None,
            "beyond": beyond,
        }


def _see(contender: Contender, scenes: Sequence[Scene]) -> Mapping[Stage, torch.Tensor]:
    look: Look = contender.look(scenes)
    return {
        Stage.VISION: look.tokens,
        Stage.KEYS_VALUES: look.keys_values,
        Stage.ACTIONS: torch.from_numpy(look.actions),
    }


def _answer(contender: Contender, seeds: Sequence[Sequence[Scene]]) -> torch.Tensor:
    return torch.from_numpy(np.stack([contender.run(scenes) for scenes in seeds]))


def _complain(gate, *arguments) -> list[str]:
    try:
        gate(*arguments)
    except GateError as error:
        return [str(error)]
    return []


def _measure_share(out: torch.Tensor, truth: torch.Tensor) -> float:
    """Root mean square error over the spread between seeds."""
    spread = truth.double().var(0).mean().sqrt()
    return float((out.double() - truth.double()).square().mean().sqrt() / spread)
