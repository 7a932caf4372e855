# SPDX-License-Identifier: Apache-2.0
"""How sure figures of a few episodes are: 95 % intervals."""

import math
from collections.abc import Sequence

import numpy as np

from dm0_ros.errors import Dm0Error

_Z = 1.959964  # standard deviations of the normal distribution that hold 95 %
_DRAWS = 2000


def wilson(successes: int, count: int) -> tuple[float, float]:
    """Bounds of a share of ``count`` > 0 (Wilson, 1927): sensible at none and at all, too."""
    if not 0 <= successes <= count or not count:
        raise Dm0Error(f"{successes} of {count} is no share")
    share, scale = successes / count, 1 + _Z**2 / count
    middle = share + _Z**2 / (2 * count)
    half = _Z * math.sqrt(share * (1 - share) / count + (_Z / (2 * count)) ** 2)
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def bootstrap(groups: Sequence[Sequence[float]], seed: int = 0) -> tuple[float, float] | None:
    """Bounds of the mean of all values, whole groups drawn anew: those of one episode are alike.

    The same numbers give the same bounds. None where no group has a value.
    """
    sums = np.array([float(np.sum(group)) for group in groups if len(group)])
    counts = np.array([len(group) for group in groups if len(group)])
    if not len(counts):
        return None
    chosen = np.random.default_rng(seed).integers(len(counts), size=(_DRAWS, len(counts)))
    low, high = np.percentile(sums[chosen].sum(1) / counts[chosen].sum(1), [2.5, 97.5])
    return float(low), float(high)
