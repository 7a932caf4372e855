# SPDX-License-Identifier: Apache-2.0
"""Statistics of a checkpoint, and the two ways to normalise with them.

File format: ``norm_stats.json`` of DM0's public checkpoints, where ``min`` and ``max`` are the
1 % and 99 % quantiles and vectors are padded with zeros to the network's width.
"""

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np

from dm0_ros.errors import CheckpointError

FILE_NAME = "norm_stats.json"
_EPSILON = 1e-6  # of the reference; also keeps a column that never moves finite
_QUANTILES = (0.01, 0.99)
_KEYS = ("min", "max", "mean", "std")


class Normalisation(str, Enum):
    """How a checkpoint was trained: DM0's Table30 checkpoints quantile, its LIBERO one z-score."""

    QUANTILE = "quantile"
    Z_SCORE = "z_score"


@dataclass(frozen=True, eq=False)
class VectorStats:
    """Statistics of one vector, each (N,) float64, in the units of its columns."""

    low: np.ndarray  # 1 % quantile
    high: np.ndarray  # 99 % quantile
    mean: np.ndarray
    std: np.ndarray

    def normalise(self, values: np.ndarray, mode: Normalisation) -> np.ndarray:
        """Values (..., N) in SI to the network's scale; nothing is clipped."""
        offset, span = self._offset_and_span(mode)
        scaled = (np.asarray(values, np.float64) - offset) / span
        return 2.0 * scaled - 1.0 if mode is Normalisation.QUANTILE else scaled

    def denormalise(self, numbers: np.ndarray, mode: Normalisation) -> np.ndarray:
        """The inverse of `normalise`."""
        offset, span = self._offset_and_span(mode)
        scaled = np.asarray(numbers, np.float64)
        if mode is Normalisation.QUANTILE:
            scaled = (scaled + 1.0) / 2.0
        return scaled * span + offset

    def untrained(self) -> np.ndarray:
        """Mask (N,) of the columns whose statistics are all zero: padding, never trained."""
        return ~np.any([self.low, self.high, self.mean, self.std], axis=0)

    def _offset_and_span(self, mode: Normalisation) -> tuple[np.ndarray, np.ndarray]:
        if mode is Normalisation.QUANTILE:
            return self.low, self.high - self.low + _EPSILON
        return self.mean, self.std + _EPSILON


@dataclass(frozen=True, eq=False)
class NormStats:
    """Statistics of a checkpoint: of action columns as the network gives them, and of states."""

    action: VectorStats
    state: VectorStats | None = None  # DM0 is not fed the state, so a file may lack it


def compute_stats(actions: np.ndarray, states: np.ndarray, width: int = 32) -> NormStats:
    """Statistics of training data, padded with zeros to ``width`` columns.

    ``actions`` (..., C): differences to the state, absolute columns as they are
    (see `dm0_ros.policy.actions.to_differences`), all rows of all chunks; ``states`` (..., S).
    """
    return NormStats(_compute_vector(actions, width), _compute_vector(states, width))


def save_stats(stats: NormStats, folder: str | Path) -> None:
    """Write ``norm_stats.json`` into a checkpoint folder, as public checkpoints have it."""
    vectors = {"action": stats.action, "state": stats.state}
    content = {name: _to_json(vector) for name, vector in vectors.items() if vector is not None}
    text = json.dumps({"norm_stats": content}, indent=1)
    (Path(folder) / FILE_NAME).write_text(text + "\n", encoding="utf-8")


def load_stats(folder: str | Path, width: int = 32) -> NormStats:
    """Read ``norm_stats.json`` of a checkpoint folder, padded with zeros to ``width`` columns.

    Raises `CheckpointError` where it is missing, broken, or wider than the network: a policy
    without its statistics would move the arm by arbitrary amounts.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        raise CheckpointError(
            f"{path} is missing: without it the network's numbers are no radians or metres; "
            "copy it from where the checkpoint was trained, or train again with 'dm0 train'"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise CheckpointError(f"{path}: is not valid JSON ({cause}); copy it again") from cause
    content = content.get("norm_stats", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or "action" not in content:
        raise CheckpointError(f"{path}: has no entry 'action'; copy the checkpoint's own file")
    action = _from_json(content["action"], width, f"{path}: action")
    state = content.get("state")
    return NormStats(action, None if state is None else _from_json(state, width, f"{path}: state"))


def _compute_vector(values: np.ndarray, width: int) -> VectorStats:
    rows = np.asarray(values, np.float64)
    if rows.ndim < 2 or rows.size == 0:
        raise ValueError(f"statistics need rows of columns, found shape {rows.shape}")
    rows = rows.reshape(-1, rows.shape[-1])
    if rows.shape[1] > width:
        raise ValueError(f"{rows.shape[1]} columns do not fit into a network of width {width}")
    if not np.isfinite(rows).all():
        raise ValueError("training data hold NaN or infinite values")
    low, high = np.quantile(rows, _QUANTILES, axis=0)
    columns = (low, high, rows.mean(axis=0), rows.std(axis=0))
    return VectorStats(*(_pad(column, width) for column in columns))


def _pad(column: np.ndarray, width: int) -> np.ndarray:
    return np.pad(column, (0, width - len(column)))


def _to_json(vector: VectorStats) -> dict[str, list[float]]:
    columns = (vector.low, vector.high, vector.mean, vector.std)
    return {key: column.tolist() for key, column in zip(_KEYS, columns, strict=True)}


def _from_json(content: object, width: int, where: str) -> VectorStats:
    missing = [key for key in _KEYS if not isinstance(content, dict) or key not in content]
    if missing:
        raise CheckpointError(
            f"{where}: lacks {', '.join(missing)}; copy the checkpoint's own file"
        )
    try:
        columns = [np.asarray(content[key], np.float64) for key in _KEYS]
    except (TypeError, ValueError) as cause:
        raise CheckpointError(f"{where}: holds something that is no number ({cause})") from cause
    lengths = {column.shape for column in columns}
    if len(lengths) != 1 or columns[0].ndim != 1 or not 0 < len(columns[0]) <= width:
        raise CheckpointError(
            f"{where}: expected four lists of one length, at most {width} (action_dim in "
            f"config.json), found {', '.join(str(column.shape) for column in columns)}"
        )
    if not np.isfinite(columns).all():
        raise CheckpointError(f"{where}: holds NaN or infinite values; train again")
    low, high, _, std = columns
    if np.any(low > high) or np.any(std < 0):
        raise CheckpointError(f"{where}: has min above max, or a negative std; copy it again")
    return VectorStats(*(_pad(column, width) for column in columns))
