# SPDX-License-Identifier: Apache-2.0
"""How well ObjectNav was done, as Habitat defines it.

S is 1 where stop was called within the success distance of a view point. L is the geodesic
distance from the start to the nearest view point, P the length of the driven way, d the geodesic
distance at the end. SPL is S L / max(L, P) (Anderson et al., 2018); SoftSPL has the progress
max(0, 1 - d / L) in place of S.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Result:
    """How one episode ended. Distances are geodesic, to the nearest view point, m."""

    category: str
    stopped: bool  # stop was called, as against: steps ran out
    start_distance: float
    distance: float
    travelled: float
    steps: int
    success_distance: float = 0.1

    @property
    def success(self) -> bool:
        """Whether stop was called near enough: less than the success distance."""
        return self.stopped and self.distance < self.success_distance

    @property
    def efficiency(self) -> float:
        """L / max(L, P); for an episode that begins at its goal: 1 without driving, else 0."""
        longest = max(self.start_distance, self.travelled)
        return self.start_distance / longest if longest > 0 else 1.0

    @property
    def progress(self) -> float:
        """Share of the distance that was made good, in [0, 1].

        For an episode that begins at its goal: whether it ends there.
        """
        if self.start_distance > 0:
            return max(0.0, 1.0 - self.distance / self.start_distance)
        return float(self.distance == 0)

    @property
    def spl(self) -> float:
        """Success weighted by path length."""
        return self.success * self.efficiency

    @property
    def soft_spl(self) -> float:
        """Progress weighted by path length."""
        return self.progress * self.efficiency


def summarise(results: Sequence[Result]) -> dict:
    """Means over episodes, and the same for each category.

    Keys: ``episodes``, ``sr``, ``spl``, ``soft_spl``, ``dtg`` (m), ``steps``; ``categories``.
    """
    categories = sorted({result.category for result in results})
    return {
        **_average(results),
        "categories": {
            category: _average([r for r in results if r.category == category])
            for category in categories
        },
    }


def _average(results: Iterable[Result]) -> dict:
    results = list(results)
    return {
        "episodes": len(results),
        "sr": float(np.mean([result.success for result in results])),
        "spl": float(np.mean([result.spl for result in results])),
        "soft_spl": float(np.mean([result.soft_spl for result in results])),
        "dtg": float(np.mean([result.distance for result in results])),
        "steps": float(np.mean([result.steps for result in results])),
    }
