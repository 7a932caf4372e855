# SPDX-License-Identifier: Apache-2.0
"""The plan that a text's action tokens say, and how far the network's own one is from it."""

from collections.abc import Sequence

import numpy as np

from dm0_ros.policy.actions import decode_actions, encode_actions
from dm0_ros.policy.normalisation import Normalisation, NormStats
from dm0_ros.robots.layouts import Layout
from dm0_ros.scaffold.decoded import decode_rows, disagreement


class DiscreteActions:
    """Reads action tokens with a checkpoint's statistics. H rows, C columns, D network columns."""

    def __init__(
        self, layout: Layout, stats: NormStats, mode: Normalisation, rows: Sequence[int]
    ) -> None:
        """``rows`` of the plan that the tokens tell."""
        self._encoding = layout, stats, mode
        self._rows = rows
        self._columns = len(layout.columns)
        start = stats.action.normalise(np.zeros_like(stats.action.low), mode)[: self._columns]
        self._start = np.where(np.isin(layout.columns, layout.absolute), np.nan, start)

    def decode(self, bins: Sequence[int], state: np.ndarray, horizon: int) -> np.ndarray:
        """Absolute rows (H, C) of bins that were told at ``state`` (S,), SI and radians.

        Raises `ScaffoldError` where there are not as many bins as the rows have columns.
        """
        told = decode_rows(bins, self._rows, horizon, self._start)
        width = len(self._encoding[1].action.low)
        padded = np.pad(told, [(0, 0), (0, width - self._columns)])
        return decode_actions(padded, state, *self._encoding)

    def compare(
        self, columns: np.ndarray, state: np.ndarray, decoded: np.ndarray, late: float
    ) -> float:
        """Mean distance, normalised, of columns (H, D) planned at ``state`` to ``decoded`` rows.

        ``decoded`` (H, C) were told ``late`` rows earlier: what both plans say of the same time is
        compared. NaN where that is nothing.
        """
        rows = np.arange(len(columns)) + late
        rows = rows[rows <= len(decoded) - 1]
        if not len(rows):
            return float("nan")
        times = np.arange(len(decoded))
        there = np.stack([np.interp(rows, times, column) for column in decoded.T], 1)
        expected = encode_actions(there, state, *self._encoding)[:, : self._columns]
        return disagreement(columns[: len(rows), : self._columns], np.clip(expected, -1, 1)).mean
