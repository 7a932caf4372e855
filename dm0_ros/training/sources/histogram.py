# SPDX-License-Identifier: Apache-2.0
"""Quantiles of more numbers than fit into memory."""

import numpy as np

BINS = 5000  # as in the reference's statistics
_LEAST = 1e-9  # width at first, where all numbers are equal so far


class Histogram:
    """Counts of C columns in equal bins, with exact mean, deviation, least and greatest.

    Where a number is out of range, the range doubles and neighbouring bins become one: no count
    is ever moved over a bin's border, so a quantile is never wrong by more than a bin's width.
    """

    def __init__(self, columns: int) -> None:
        self.count = 0
        self.least = np.full(columns, np.inf)
        self.greatest = np.full(columns, -np.inf)
        self._start, self._width = np.zeros(columns), np.zeros(columns)  # of the bins
        self._bins = np.zeros((columns, BINS), np.int64)
        self._mean, self._squares = np.zeros(columns), np.zeros(columns)

    @property
    def bin_width(self) -> np.ndarray:
        """Width (C,) of the bins as they are now."""
        return self._width

    @property
    def mean(self) -> np.ndarray:
        """Mean (C,)."""
        return self._mean

    @property
    def std(self) -> np.ndarray:
        """Standard deviation (C,)."""
        return np.sqrt(self._squares / max(self.count, 1))

    def add(self, rows: np.ndarray) -> None:
        """Take in rows (N, C), which are finite."""
        rows = np.asarray(rows, np.float64)
        if not len(rows):
            return
        if not self.count:
            self._start = rows.min(axis=0)
            spread = rows.max(axis=0) - self._start
            self._width = np.maximum(spread, _LEAST * np.maximum(1.0, abs(self._start))) / BINS
        self.least = np.minimum(self.least, rows.min(axis=0))
        self.greatest = np.maximum(self.greatest, rows.max(axis=0))
        self._add_moments(rows)
        for column in range(rows.shape[1]):
            self._stretch(column)
            places = (rows[:, column] - self._start[column]) / self._width[column]
            # the greatest number of all may lie on the last bin's far border
            places = np.clip(places.astype(np.int64), 0, BINS - 1)
            self._bins[column] += np.bincount(places, minlength=BINS)

    def quantile(self, share: float) -> np.ndarray:
        """The quantile (C,) of a share in 0..1."""
        if not self.count:
            raise ValueError("there are no quantiles of no numbers")
        ends = np.cumsum(self._bins, axis=1)
        target = share * self.count
        found = [int(np.searchsorted(row, target)) for row in ends]
        column = np.arange(len(found))
        inside = self._bins[column, found]
        before = ends[column, found] - inside
        part = (target - before) / np.maximum(inside, 1)
        values = self._start + (np.array(found) + part) * self._width
        return np.clip(values, self.least, self.greatest)

    def _add_moments(self, rows: np.ndarray) -> None:
        """Chan, Golub and LeVeque, 1983: exact where numbers are large and alike."""
        added, total = len(rows), self.count + len(rows)
        apart = rows.mean(axis=0) - self._mean
        self._squares += rows.var(axis=0) * added + apart**2 * self.count * added / total
        self._mean = self._mean + apart * added / total
        self.count = total

    def _stretch(self, column: int) -> None:
        """Double one column's range until all of its numbers lie in it."""
        while self.greatest[column] > self._start[column] + BINS * self._width[column]:
            self._bins[column] = self._halve(column, BINS // 2, before=False)
        while self.least[column] < self._start[column]:
            self._start[column] -= BINS * self._width[column]
            self._bins[column] = self._halve(column, BINS // 2, before=True)

    def _halve(self, column: int, half: int, before: bool) -> np.ndarray:
        pairs = self._bins[column].reshape(half, 2).sum(axis=1)
        self._width[column] *= 2
        return np.pad(pairs, (half, 0) if before else (0, half))
