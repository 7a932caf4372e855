# SPDX-License-Identifier: Apache-2.0
"""Figures of a few episodes, and how sure they are: 95 % intervals.

Plans of one episode are alike, so episodes are what is drawn anew, whole ones: a bootstrap that is
clustered by episode, with a fixed seed. The same numbers in the same order give the same bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dm0_ros.intervals import wilson

_DRAWS = 2000
_SEED = 0
_BOUNDS = (2.5, 97.5)  # %
_BLOCK = 1 << 22  # numbers of one multiplication


@dataclass(frozen=True, eq=False)
class Estimates:
    """Ratios of sums over E episodes, arrays of one shape (...); NaN where unknown."""

    value: np.ndarray
    low: np.ndarray  # NaN below two episodes
    high: np.ndarray
    episodes: np.ndarray  # that say anything
    count: np.ndarray  # of what the mean is of

    def root(self) -> Estimates:
        """Of squares, their roots."""
        with np.errstate(invalid="ignore"):
            roots = (np.sqrt(one) for one in (self.value, self.low, self.high))
            return Estimates(*roots, self.episodes, self.count)

    def describe(self, place: int | tuple = ()) -> dict:
        """One of them, for JSON."""
        return {
            "value": plain(self.value[place]),
            "low": plain(self.low[place]),
            "high": plain(self.high[place]),
            "episodes": int(self.episodes[place]),
            "count": int(self.count[place]),
        }


class Resampler:
    """Draws E episodes anew, always the same way."""

    def __init__(self, episodes: int) -> None:
        self._weights = _draw(episodes)

    def estimate(self, sums: np.ndarray, counts: np.ndarray) -> Estimates:
        """Of sums and counts (E, ...): the mean over all that was counted, and its interval."""
        shape = sums.shape[1:]
        sums, counts = (x.reshape(len(x), -1).astype(np.float64) for x in (sums, counts))
        value = _divide(sums.sum(axis=0), counts.sum(axis=0))
        episodes = (counts > 0).sum(axis=0)
        low, high = np.full((2, len(value)), np.nan)
        step = max(1, _BLOCK // max(1, len(self._weights)))
        for first in range(0, len(value) if len(self._weights) else 0, step):
            part = slice(first, first + step)
            low[part], high[part] = self._bounds(sums[:, part], counts[:, part])
        sure = episodes > 1
        bounds = (np.where(sure, bound, np.nan) for bound in (low, high))
        return Estimates(
            *(x.reshape(shape) for x in (value, *bounds, episodes, counts.sum(axis=0)))
        )

    def _bounds(self, sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """(2, K): the 2.5 % and 97.5 % quantiles of what would have been found."""
        drawn = _divide(self._weights @ sums, self._weights @ counts)
        bounds = np.full((2, drawn.shape[1]), np.nan)
        whole = np.isfinite(drawn).all(axis=0)
        bounds[:, whole] = np.percentile(drawn[:, whole], _BOUNDS, axis=0)
        for column in np.flatnonzero(~whole):
            # A draw without any episode that says something is no draw.
            told = drawn[np.isfinite(drawn[:, column]), column]
            if len(told):
                bounds[:, column] = np.percentile(told, _BOUNDS)
        return bounds


@lru_cache(maxsize=8)
def _draw(episodes: int) -> np.ndarray:
    """(draws, E) how often each episode is drawn; no draws of a single one, which say nothing."""
    generator = np.random.default_rng(_SEED)
    weights = np.zeros((_DRAWS if episodes > 1 else 0, episodes), np.float32)
    for row in weights:
        row += np.bincount(generator.integers(episodes, size=episodes), minlength=episodes)
    weights.flags.writeable = False
    return weights


def estimate_share(hits: float, count: float, episodes: int) -> dict:
    """A share, for JSON, with Wilson's interval as if each episode were one draw: its plans are
    alike, so that more plans an episode make it no surer."""
    if not count:
        return {"value": None, "low": None, "high": None, "episodes": 0, "count": 0}
    share = hits / count
    low, high = wilson(share * episodes, episodes)
    return {
        "value": share,
        "low": min(low, share),
        "high": max(high, share),
        "episodes": episodes,
        "count": int(count),
    }


def plain(number: float) -> float | None:
    """A number for JSON, which has no NaN."""
    return float(number) if np.isfinite(number) else None


def _divide(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
