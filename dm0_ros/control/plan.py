# SPDX-License-Identifier: Apache-2.0
"""A chunk as a function of time.

A `Motion` gives position, velocity and acceleration at any time, as rows of a (3, D) array. Rows
of a chunk are never indexed by whoever uses it: late or early, one samples at the present time.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import floor
from typing import Protocol

import numpy as np

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


class Motion(Protocol):
    """Something that can be sampled by time."""

    start: float  # s
    end: float  # s; at rest from here on

    def sample(self, time: float) -> np.ndarray:
        """Position, velocity, acceleration at ``time``: (3, D) in rad and m, per s, per s2."""


class Trajectory:
    """Rows to a curve with continuous acceleration that comes to rest at the last row.

    Arm columns follow a cubic spline through the rows. At its ends the spline is natural: nothing
    is known about what was before or would come after, and this adds no acceleration. From the
    last row but one the curve leaves the spline and takes two steps to come to rest at the last
    row: one step to its due time and the one for which it is held. A ramp then brakes without
    passing its last row, at 0.75 times velocity / step, where holding at once would be a jolt.

    ``linear`` columns (grippers) go straight from row to row: a spline would swing past an opening
    or closing and squeeze what is held.
    """

    def __init__(self, start: float, step: float, values: np.ndarray, linear: np.ndarray) -> None:
        """Make it of rows (H, D) float64, finite; ``linear`` (D,) bool."""
        rows = len(values)
        self.start = start
        self.step = step
        self.end = start + rows * step
        self._segments = _spline(values, step)
        if rows > 1:
            self._segments[rows - 2 :] = _landing(self._segments[rows - 2], values[-1], step)
        self._segments[:, :, linear] = _straight(values[:, linear], step)

    def sample(self, time: float) -> np.ndarray:
        """See `Motion`. Before the start: the first row at rest. After the end: the last row."""
        if time >= self.end:
            return _at_rest(self._segments[-1], self.step)
        if time < self.start:
            return _at_rest(self._segments[0], 0.0)
        index = min(floor((time - self.start) / self.step), len(self._segments) - 1)
        return _derivatives(time - self.start - index * self.step) @ self._segments[index]

    def time_left(self, time: float) -> float:
        """Seconds until the end, not below zero."""
        return max(0.0, self.end - time)


class Coast:
    """Bring a moving set-point smoothly to rest; or hold it, where it is at rest already.

    Velocity is the cubic that starts with the state's velocity and acceleration and ends with
    none, so a motion that takes over from this one does so with continuous acceleration.
    """

    def __init__(self, start: float, state: np.ndarray, duration: float) -> None:
        """Begin at ``start`` in ``state`` (3, D), come to rest ``duration`` > 0 seconds later."""
        self.start = start
        self.end = start + duration
        self._duration = duration
        q, v, a = state
        zero = np.zeros_like(q)
        cubic = (-3 * v - 2 * a * duration) / duration**2
        quartic = (2 * v + a * duration) / duration**3
        self._segment = np.stack([q, v, a / 2, cubic / 3, quartic / 4, zero])

    def sample(self, time: float) -> np.ndarray:
        """See `Motion`."""
        if time >= self.end:
            return _at_rest(self._segment, self._duration)
        return _derivatives(max(0.0, time - self.start)) @ self._segment


def _derivatives(x: float) -> np.ndarray:
    """What turns six coefficients (rising powers) into value, slope and curvature at ``x``."""
    x2 = x * x
    x3 = x2 * x
    x4 = x3 * x
    return np.array(
        (
            (1.0, x, x2, x3, x4, x4 * x),
            (0.0, 1.0, 2 * x, 3 * x2, 4 * x3, 5 * x4),
            (0.0, 0.0, 2.0, 6 * x, 12 * x2, 20 * x3),
        )
    )


def _at_rest(segment: np.ndarray, x: float) -> np.ndarray:
    state = np.zeros((3, segment.shape[1]))
    state[0] = _derivatives(x)[0] @ segment
    return state


@lru_cache(maxsize=8)
def _inverse(size: int) -> np.ndarray:
    """Inverse of the spline's tridiagonal (1, 4, 1) matrix; its condition number is below 3."""
    matrix = 4 * np.eye(size) + np.eye(size, k=1) + np.eye(size, k=-1)
    return np.linalg.inv(matrix)


def _spline(values: np.ndarray, step: float) -> np.ndarray:
    """Coefficients (H, 6, D) of the natural cubic spline; the last segment stays constant."""
    rows, columns = values.shape
    segments = np.zeros((rows, 6, columns))
    segments[:, 0] = values
    if rows == 1:
        return segments
    bend = np.zeros_like(values)  # second derivative times step^2 at the rows
    if rows > 2:
        bend[1:-1] = _inverse(rows - 2) @ (6 * np.diff(values, n=2, axis=0))
    segments[:-1, 1] = (np.diff(values, axis=0) - (2 * bend[:-1] + bend[1:]) / 6) / step
    segments[:-1, 2] = bend[:-1] / (2 * step**2)
    segments[:-1, 3] = np.diff(bend, axis=0) / (6 * step**3)
    return segments


def _landing(segment: np.ndarray, last: np.ndarray, step: float) -> np.ndarray:
    """Two segments (2, 6, D): from the begin of ``segment`` to rest at ``last`` in two steps.

    The quintic with the begin's position, velocity and acceleration and none of the latter two at
    the end; its second half is the same polynomial about its own begin.
    """
    time = 2 * step
    q, v, a = segment[0], segment[1], 2 * segment[2]
    reach = last - q - v * time - a * time**2 / 2
    speed = -(v + a * time) * time
    curve = -a * time**2
    first = np.stack(
        [
            q,
            v,
            a / 2,
            (10 * reach - 4 * speed + curve / 2) / time**3,
            (-15 * reach + 7 * speed - curve) / time**4,
            (6 * reach - 3 * speed + curve / 2) / time**5,
        ]
    )
    second = np.zeros_like(first)
    for power in range(6):
        for low in range(power + 1):
            second[low] += _BINOMIAL[power][low] * step ** (power - low) * first[power]
    return np.stack([first, second])


_BINOMIAL = ((1,), (1, 1), (1, 2, 1), (1, 3, 3, 1), (1, 4, 6, 4, 1), (1, 5, 10, 10, 5, 1))


def _straight(values: np.ndarray, step: float) -> np.ndarray:
    """Coefficients (H, 6, D) of straight lines between rows, the last one held."""
    segments = np.zeros((len(values), 6, values.shape[1]))
    segments[:, 0] = values
    segments[:-1, 1] = np.diff(values, axis=0) / step
    return segments
