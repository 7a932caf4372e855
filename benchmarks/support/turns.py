# SPDX-License-Identifier: Apache-2.0
"""Contenders timed turn by turn on the same inputs, so that the machine's mood hits all alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from support.contenders import Contender
from support.record import summarise
from support.scenes import Scene

LEAST_TURNS = 5
"""Of each round, whatever the time: fewer say nothing."""


@dataclass
class Samples:
    """What one contender took, ms: in total per round, and per stage over all rounds."""

    rounds: list[list[float]] = field(default_factory=list)
    stages: dict[str, list[float]] = field(default_factory=dict)

    def summarise(self) -> dict:
        """Percentiles of the total and of the stages, and the median of each round."""
        every = [value for values in self.rounds for value in values]
        return {
            "total": summarise(every),
            "rounds_p50": [summarise(values).get("p50") for values in self.rounds],
            **{name: summarise(values) for name, values in self.stages.items()},
        }


def warm_up(contender: Contender, batches: Sequence[Sequence[Scene]], count: int) -> float:
    """Runs it `count` times; seconds that took. Whatever chooses, compiles or captures, does."""
    begun = time.perf_counter()
    for turn in range(count):
        contender.run(batches[turn % len(batches)])
    return time.perf_counter() - begun


def take_turns(
    contenders: Sequence[Contender],
    batches: Sequence[Sequence[Scene]],
    count: int,
    rounds: int,
    deadline: float,
) -> list[Samples]:
    """Times `rounds` x `count` turns; each contender runs once a turn, on the same input.

    The inputs follow one another, so that no call sees what it saw before. Rounds are cut short
    where they would end after `deadline`, a `time.perf_counter()`.
    """
    found = [Samples() for _ in contenders]
    for number in range(rounds):
        begun = time.perf_counter()
        end = begun + (deadline - begun) / (rounds - number)
        for samples in found:
            samples.rounds.append([])
        for turn in range(count):
            if turn >= LEAST_TURNS and time.perf_counter() > end:
                break
            for contender, samples in zip(contenders, found, strict=True):
                _time_once(contender, batches[turn % len(batches)], samples)
    return found


def relative_error(found: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> float:
    """Norm of the difference over the norm of the truth, over all batches. NaN stays NaN."""
    difference = np.concatenate([(f - t).ravel() for f, t in zip(found, truth, strict=True)])
    whole = np.concatenate([t.ravel() for t in truth])
    return float(np.linalg.norm(difference) / np.linalg.norm(whole))


def largest_difference(found: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> float:
    """Of any single number in the actions."""
    return float(max(np.abs(f - t).max() for f, t in zip(found, truth, strict=True)))


def _time_once(contender: Contender, scenes: Sequence[Scene], samples: Samples) -> None:
    begun = time.perf_counter()
    contender.run(scenes)
    samples.rounds[-1].append(1e3 * (time.perf_counter() - begun))
    for name, value in contender.stages.items():
        samples.stages.setdefault(name, []).append(value)
