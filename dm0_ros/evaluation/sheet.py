# SPDX-License-Identifier: Apache-2.0
"""Everything that is kept of a bag while it is replayed: a few kB a plan, whatever its length."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from dm0_ros.evaluation.episodes import Episode
from dm0_ros.evaluation.judging import Judged, comparable
from dm0_ros.evaluation.seams import Motion
from dm0_ros.policy.protocol import Latency, PolicySpec
from dm0_ros.replay.walk import Step

LATENCIES = ("preprocessing", "prefix", "reasoning", "flow")


class Sheet:
    """Takes steps and judged plans in order, and gives them back as arrays."""

    def __init__(self, spec: PolicySpec, arms: Sequence[str]) -> None:
        self._spec, self._arms = spec, tuple(arms)
        self.faults: Counter[str] = Counter()
        self._rows: list[dict] = []
        self._switches: list[tuple] = []  # plan, and the fields of a Switch
        self._differences: list[float] = []
        self._identical: list[bool] = []
        self._not_comparable = 0

    @property
    def count(self) -> int:
        """Plans that were made and judged."""
        return len(self._rows)

    def add(self, step: Step, episode: int) -> None:
        """A step, judged or not."""
        if step.fault:
            self.faults[step.fault] += 1
        if step.identical is not None:
            self._identical.append(step.identical)
        if step.plan is None or step.recorded is None:
            return
        if comparable(step):
            self._differences.append(step.difference)
        else:
            self._not_comparable += 1

    def judge(self, judged: Judged) -> None:
        """A plan whose errors are known."""
        step = judged.step
        recorded = step.recorded
        self._rows.append(
            {
                "moment": step.moment,
                "start": step.plan.start,
                "sequence": -1 if recorded is None else recorded.sequence,
                "episode": judged.episode,
                "action_errors": judged.errors.astype(np.float32),
                "plan_errors": judged.plan_errors.astype(np.float32),
                "pose_errors": judged.pose_errors.astype(np.float32),
                "score": judged.score,
                "overlap": judged.overlap.astype(np.float32),
                "progress": step.plan.progress,
                "scaffold": np.array(judged.likeness, np.float32),
                "latency_live": _stages(recorded and recorded.plan.latency),
                "latency_replayed": _stages(step.plan.latency),
            }
        )
        for switch in judged.switches:
            self._switches.append((len(self._rows) - 1, *switch))

    def arrays(self, zero: float) -> dict[str, np.ndarray]:
        """For plans.npz; times are s after ``zero``, the beginning of the bag."""
        found = {name: np.stack([row[name] for row in self._rows]) for name in self._rows[0]}
        used = np.unique(found["episode"])
        found["episode"] = np.searchsorted(used, found["episode"]).astype(np.int32)
        for name in ("moment", "start"):
            found[name] = found[name] - zero
        found["switches"] = np.array(self._switches, np.float64).reshape(-1, 5)
        found["switches"][:, 3:] -= zero
        return found

    def describe(
        self, episodes: Sequence[Episode], zero: float, now: float, motion: Motion | None
    ) -> dict:
        """For result.json."""
        used = sorted({row["episode"] for row in self._rows})
        return {
            "plans": self.count,
            "compared": len(self._differences),
            "not_comparable": self._not_comparable,
            "max_abs_difference": max(self._differences, default=None),
            "identical_observations": sum(self._identical) if self._identical else None,
            "not_replayed": dict(self.faults),
            "episodes": [
                _describe(episodes[number], zero, now)
                | {"motion": None if motion is None else motion.describe(number)}
                for number in used
            ],
        }


def _describe(episode: Episode, zero: float, now: float) -> dict:
    return {
        "name": episode.name,
        "bounds_by": episode.source,
        "instruction": episode.instruction,
        "begin": episode.begin - zero,
        "end": min(episode.end, now) - zero,
        "ended": math.isfinite(episode.end),
        "outcome": episode.outcome,
    }


def _stages(latency: Latency | None) -> np.ndarray:
    """(4,) float32 ms by stage."""
    if latency is None:
        return np.full(len(LATENCIES), np.nan, np.float32)
    return np.array([getattr(latency, name) for name in LATENCIES], np.float32)
