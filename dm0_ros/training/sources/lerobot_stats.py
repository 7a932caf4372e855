# SPDX-License-Identifier: Apache-2.0
"""Least, greatest, mean and deviation of each feature, as meta/stats.json of LeRobot has them."""

from typing import Any

import numpy as np


class Moments:
    """Of one feature with K numbers, taken in a few rows at a time."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape  # that LeRobot gives its statistics
        self._count = 0
        self._low = self._high = self._mean = self._squares = np.zeros(0)

    def add(self, values: np.ndarray, count: int) -> None:
        """Rows (N, K); ``count`` is what they count for: rows, or pictures of many pixels."""
        values = np.asarray(values, np.float64)
        part = Moments(self._shape)
        part._count, part._mean = count, values.mean(axis=0)
        part._low, part._high = values.min(axis=0), values.max(axis=0)
        part._squares = values.var(axis=0) * count
        self.merge(part)

    def merge(self, other: "Moments") -> None:
        """Take in what another has seen (Chan, Golub and LeVeque, 1983)."""
        if not self._count:
            self.__dict__.update(other.__dict__)
            return
        total = self._count + other._count
        apart = other._mean - self._mean
        self._squares = (
            self._squares + other._squares + apart**2 * self._count * other._count / total
        )
        self._mean = self._mean + apart * other._count / total
        self._low = np.minimum(self._low, other._low)
        self._high = np.maximum(self._high, other._high)
        self._count = total

    def to_json(self) -> dict[str, Any]:
        """The statistics as lists."""
        vectors = {
            "min": self._low,
            "max": self._high,
            "mean": self._mean,
            "std": np.sqrt(self._squares / max(self._count, 1)),
        }
        lists = {key: values.reshape(self._shape).tolist() for key, values in vectors.items()}
        return lists | {"count": [self._count]}


class FeatureStats:
    """Of all features, of an episode or of many."""

    def __init__(self) -> None:
        self._moments: dict[str, Moments] = {}

    def add_rows(self, key: str, values: np.ndarray) -> None:
        """Numbers (F,) or (F, K) of a feature."""
        rows = np.asarray(values).reshape(len(values), -1)
        self._of(key, (rows.shape[1],)).add(rows, len(rows))

    def add_picture(self, key: str, picture: np.ndarray) -> None:
        """A picture (height, width, 3) uint8; its colours count from 0 to 1."""
        self._of(key, (3, 1, 1)).add(picture.reshape(-1, 3) / 255.0, 1)

    def merge(self, other: "FeatureStats") -> None:
        """Take in what another has seen."""
        for key, moments in other._moments.items():
            self._of(key, moments._shape).merge(moments)

    def nested(self) -> dict[str, dict[str, Any]]:
        """By feature, as meta/stats.json has them."""
        return {key: moments.to_json() for key, moments in self._moments.items()}

    def flat(self) -> dict[str, Any]:
        """As columns of an episode's row in meta/episodes."""
        return {
            f"stats/{key}/{name}": value
            for key, entry in self.nested().items()
            for name, value in entry.items()
        }

    def _of(self, key: str, shape: tuple[int, ...]) -> Moments:
        return self._moments.setdefault(key, Moments(shape))
