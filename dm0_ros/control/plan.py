# SPDX-License-Identifier: Apache-2.0
"""A chunk as a function of time.

Rows are never indexed by whoever follows them: late or early, one samples at the present time.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import numpy as np

from dm0_ros.control.curve import ORDER, Curve, hermite
from dm0_ros.robots.spec import Space


@dataclass(frozen=True)
class Chunk:
    """One plan as it arrives: row k is due at ``start + k * step``. Values are absolute, SI."""

    start: float  # s
    step: float  # s
    space: Space
    names: tuple[str, ...]  # one per column
    values: np.ndarray  # (H, D) float64
    sequence: int
    epoch: int
    limited: tuple[str, ...] = ()  # "<joint>: <limit>": for what it is slower than it was planned


class Rows(Protocol):
    """What a chunk says is wanted, whoever else knows of it."""

    space: Space
    step: float  # s
    names: tuple[str, ...]  # one per column
    values: np.ndarray  # (H, D)


@dataclass(frozen=True)
class Plan:
    """A chunk that passed the checks: columns in the executor's order, times of its own clock."""

    sequence: int
    start: float  # s of the executor's clock: when row 0 is due
    step: float  # s
    values: np.ndarray  # (H, D) within the range of every column

    @property
    def end(self) -> float:
        """When the last row has been held for its step."""
        return self.start + len(self.values) * self.step

    def stretched(self, begin: float, factor: float) -> "Plan":
        """The same rows, ``factor`` times slower from ``begin`` on."""
        start = begin + (self.start - begin) * factor
        return replace(self, start=start, step=self.step * factor)

    def at(self, time: float) -> np.ndarray:
        """All columns (D,) at ``time``, straight from row to row."""
        place = max(0.0, (time - self.start) / self.step)
        index = min(int(place), len(self.values) - 1)
        row = self.values[index]
        return row + (place - index) * (self.values[min(index + 1, len(self.values) - 1)] - row)


def interpolate(
    plan: Plan, joints: int, soft: np.ndarray | None = None, landing: int = 1
) -> Curve:
    """The first ``joints`` columns as a curve that comes to rest at the last row.

    Joints follow a cubic spline through the rows. At its ends the spline is natural: nothing is
    known about what was before or would come after, and this adds no acceleration. ``landing``
    rows before the last the curve leaves the spline and takes twice as many steps to come to rest
    at the last row. A ramp then brakes without passing its last row, at 0.75 times velocity /
    (landing * step). With a landing of one, the last row is reached when it has been held for its
    step, which would be a jolt if it were reached on time.

    Columns where ``soft`` (joints,) is 1 take their rows as control points of a cubic B-spline
    instead: off the rows by a sixth of their second difference, and with a third of the
    acceleration where rows jitter. Where it is more, rows are averaged with their neighbours
    before, once less than it says. With a landing of one they never leave the span of their rows.
    """
    values, step = plan.values[:, :joints], plan.step
    rows = len(values)
    pieces = _spline(values, step)
    softened = None
    if soft is not None and soft.any():
        chosen = soft > 0
        softened = _soft_spline(_average(values[:, chosen], soft[chosen] - 1), step)
    if rows == 1 or landing == 1:
        if rows > 1:
            pieces[rows - 2 :] = _landing(pieces[rows - 2], values[-1], step)
        if softened is not None:
            pieces[:, :, chosen] = softened
        return Curve(plan.start + step * np.arange(rows), pieces, plan.end)
    if softened is not None:
        pieces[:, :, chosen] = softened
    last = rows - 1 - landing
    duration = 2 * landing * step
    pieces = pieces[: last + 1]
    pieces[last] = _to_rest(pieces[last], values[-1], duration)
    begins = plan.start + step * np.arange(last + 1)
    return Curve(begins, pieces, float(begins[-1]) + duration)


def pass_through(plan: Plan) -> Curve:
    """All columns on the spline alone, up to the last row's due time, without coming to rest."""
    begins = plan.start + plan.step * np.arange(len(plan.values))
    return Curve(begins, _spline(plan.values, plan.step), plan.end)


@lru_cache(maxsize=8)
def _inverse(size: int) -> np.ndarray:
    """Inverse of the spline's tridiagonal (1, 4, 1) matrix; its condition number is below 3."""
    matrix = 4 * np.eye(size) + np.eye(size, k=1) + np.eye(size, k=-1)
    return np.linalg.inv(matrix)


def _spline(values: np.ndarray, step: float) -> np.ndarray:
    """Coefficients (H, 6, D) of the natural cubic spline; the last piece stays constant."""
    rows, columns = values.shape
    pieces = np.zeros((rows, ORDER, columns))
    pieces[:, 0] = values
    if rows == 1:
        return pieces
    bend = np.zeros_like(values)  # second derivative times step^2 at the rows
    if rows > 2:
        bend[1:-1] = _inverse(rows - 2) @ (6 * np.diff(values, n=2, axis=0))
    pieces[:-1, 1] = (np.diff(values, axis=0) - (2 * bend[:-1] + bend[1:]) / 6) / step
    pieces[:-1, 2] = bend[:-1] / (2 * step**2)
    pieces[:-1, 3] = np.diff(bend, axis=0) / (6 * step**3)
    return pieces


def _to_rest(piece: np.ndarray, last: np.ndarray, duration: float) -> np.ndarray:
    """The quintic (6, D) from the begin of ``piece`` to rest at ``last``."""
    begin = np.stack([piece[0], piece[1], 2 * piece[2]])
    rest = np.zeros_like(begin)
    rest[0] = last
    return hermite(begin, rest, duration)


def _landing(piece: np.ndarray, last: np.ndarray, step: float) -> np.ndarray:
    """Two pieces (2, 6, D): from the begin of ``piece`` to rest at ``last`` in two steps."""
    whole = Curve(np.zeros(1), _to_rest(piece, last, 2 * step)[None], 2 * step)
    return np.concatenate([whole.coefficients, whole.cut(step).coefficients])


def _average(values: np.ndarray, passes: np.ndarray) -> np.ndarray:
    """Rows (H, D), each column averaged over neighbours by 1 2 1 so many times; ends stay."""
    values = values.copy()
    for index in range(int(passes.max(initial=0))):
        jittery = passes > index
        rows = values[:, jittery]
        values[1:-1, jittery] = (rows[:-2] + 2 * rows[1:-1] + rows[2:]) / 4
    return values


def _soft_spline(values: np.ndarray, step: float) -> np.ndarray:
    """Coefficients (H, 6, D) of the uniform cubic B-spline with the rows as control points.

    The point before the first makes it begin in the first, the last one three times makes it rest
    there.
    """
    before = 2 * values[:1] - values[min(1, len(values) - 1)]
    points = np.concatenate([before, values, values[-1:], values[-1:]])
    a, b, c, d = points[:-3], points[1:-2], points[2:-1], points[3:]
    pieces = np.zeros((len(values), ORDER, values.shape[1]))
    pieces[:, 0] = (a + 4 * b + c) / 6
    pieces[:, 1] = (c - a) / (2 * step)
    pieces[:, 2] = (a - 2 * b + c) / (2 * step**2)
    pieces[:, 3] = (d - a + 3 * (b - c)) / (6 * step**3)
    return pieces
