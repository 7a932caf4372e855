# SPDX-License-Identifier: Apache-2.0
"""Normalised actions as 255 discrete ones and back (facts: dm0_model.md, D.4).

Bin b stands for b / 254 * 2 - 1: the first for -1, the last for 1, the middle one for 0.
"""

import numpy as np
from numpy.typing import ArrayLike

from dm0_ros.errors import ScaffoldError
from dm0_ros.scaffold.content import BINS

_LAST = BINS - 1


def to_bins(normalised: ArrayLike) -> np.ndarray:
    """The nearest bins, int64 of the same shape; values beyond -1 and 1 go to the outermost.

    Raises `ScaffoldError` where a value is not finite.
    """
    values = np.asarray(normalised, np.float64)
    broken = np.argwhere(~np.isfinite(values))
    if len(broken):
        place = broken[0].tolist()
        raise ScaffoldError(
            f"normalised action {place} is {values[tuple(place)]}; it must be finite to have a bin"
        )
    return np.clip(np.rint((values + 1.0) / 2.0 * _LAST), 0, _LAST).astype(np.int64)


def from_bins(bins: ArrayLike) -> np.ndarray:
    """The normalised values in -1 to 1 that bins stand for, float32 of the same shape.

    Raises `ScaffoldError` where one is no whole number in 0 to 254.
    """
    values = np.asarray(bins)
    if values.size and not np.issubdtype(values.dtype, np.integer):
        raise ScaffoldError(f"bins must be whole numbers, found {values.dtype}")
    wrong = np.argwhere((values < 0) | (values > _LAST))
    if len(wrong):
        place = wrong[0].tolist()
        raise ScaffoldError(f"bin {place} is {values[tuple(place)]}; bins are 0 to {_LAST}")
    return (values.astype(np.float64) / _LAST * 2.0 - 1.0).astype(np.float32)
