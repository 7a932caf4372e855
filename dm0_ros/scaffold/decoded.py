# SPDX-License-Identifier: Apache-2.0
"""Discrete actions as a plan of their own: for want of the continuous one, or as a check on it.

A scaffold's actions are the columns of a few rows of the plan, row after row. Everything here is
in the network's normalised units, before differences to the state are undone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dm0_ros.errors import ScaffoldError
from dm0_ros.scaffold.bins import from_bins, to_bins


@dataclass(frozen=True)
class Disagreement:
    """How far a continuous and a discrete plan are apart, in normalised units."""

    mean: float  # absolute, over rows and columns
    largest: float  # absolute
    row: int  # where the largest is
    column: int


def encode_rows(rows: ArrayLike, action_rows: Sequence[int]) -> tuple[int, ...]:
    """`Scaffold.actions` of normalised rows (H, D): bins of some of them, row after row.

    Raises `ScaffoldError` where the rows do not rise from 0 to H - 1, or a value is not finite.
    """
    values = np.asarray(rows, np.float64)
    if values.ndim != 2:
        raise ScaffoldError(f"expected rows (H, D), found shape {values.shape}")
    return tuple(to_bins(values[_check_rows(action_rows, len(values))]).ravel().tolist())


def decode_rows(
    actions: Sequence[int],
    action_rows: Sequence[int],
    horizon: int,
    start: ArrayLike,
    present: int = 0,
) -> np.ndarray:
    """The plan (H, D) float32 normalised that bins of R rows say, D columns each.

    Rows between those that were told are on a straight line, those behind the last hold it. Rows
    before the first are on a line from the present.

    Args:
        actions: R * D bins as `encode_rows` gives them.
        action_rows: of the plan, R, rising from 0 on.
        horizon: H, rows of the plan.
        start: (D,), the normalised value of no difference to the state; NaN in columns that are
            absolute, such as grippers: these have their first value from the beginning.
        present: the row in which the robot is where it is now: 0, or -1 where row 0 was the next
            state in training (facts: dm0_model.md, C.7).

    Raises:
        ScaffoldError: not R * D bins, a bin out of range, or rows that are not in the plan.
    """
    start = np.asarray(start, np.float64)
    rows = _check_rows(action_rows, horizon)
    if start.ndim != 1 or np.any(np.isinf(start)):
        raise ScaffoldError(f"start must be (D,), finite or NaN; found shape {start.shape}")
    count = len(rows) * len(start)
    if len(actions) != count:
        shape = f"{len(rows)} rows of {len(start)} columns"
        raise ScaffoldError(f"there are {len(actions)} actions; {shape} are {count}")
    told = from_bins(np.asarray(actions)).reshape(len(rows), len(start))
    plan = np.empty((horizon, len(start)))
    for column, begin in enumerate(start):
        times, values = rows, told[:, column].astype(np.float64)
        if np.isfinite(begin) and rows[0] > present:
            times, values = np.append(present, times), np.append(begin, values)
        plan[:, column] = np.interp(np.arange(horizon), times, values)
    return plan.astype(np.float32)


def disagreement(continuous: ArrayLike, discrete: ArrayLike) -> Disagreement:
    """How far two normalised plans (H, D) are apart.

    Bins end at -1 and 1, so what the continuous one has beyond that counts as these. Raises
    `ScaffoldError` where the shapes differ or a number is not finite.
    """
    first, second = np.asarray(continuous, np.float64), np.asarray(discrete, np.float64)
    if first.shape != second.shape or first.ndim != 2 or not first.size:
        raise ScaffoldError(f"plans of shape {first.shape} and {second.shape} do not compare")
    if not np.all(np.isfinite(first)) or not np.all(np.isfinite(second)):
        raise ScaffoldError("a plan with numbers that are not finite does not compare")
    apart = np.abs(np.clip(first, -1.0, 1.0) - second)
    row, column = np.unravel_index(np.argmax(apart), apart.shape)
    return Disagreement(
        float(apart.mean()), float(apart[row, column]), row=int(row), column=int(column)
    )


def are_rows(rows: Sequence[int], horizon: int) -> bool:
    """Whether these are some rows of a plan of ``horizon``, rising."""
    return bool(rows) and list(rows) == sorted(set(rows)) and rows[0] >= 0 and rows[-1] < horizon


def _check_rows(action_rows: Sequence[int], horizon: int) -> np.ndarray:
    rows = list(action_rows)
    if not are_rows(rows, horizon):
        raise ScaffoldError(
            f"action rows {rows} must be some, rising, from 0 to {horizon - 1}, the plan's last"
        )
    return np.asarray(rows, np.int64)
