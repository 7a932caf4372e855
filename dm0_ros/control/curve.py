# SPDX-License-Identifier: Apache-2.0
"""A motion of the arm: quintic polynomials one after another, and rest after the last.

All that the executor follows has this one form: plans, seams, approaches, braking. Sampling costs
the same for each, the sum of two is one again, and its extremes can be found (`certificate`).
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

ORDER = 6  # coefficients of a quintic, rising powers
_ROUNDING = 1e-9  # s before its start at which a motion is taken to have begun
_DERIVATIVE = np.array(
    [np.ones(6), np.arange(1.0, 7.0), np.arange(1.0, 7.0) * np.arange(2.0, 8.0)]
)
_BINOMIAL = np.array(
    [
        [1, 1, 1, 1, 1, 1],
        [0, 1, 2, 3, 4, 5],
        [0, 0, 1, 3, 6, 10],
        [0, 0, 0, 1, 4, 10],
        [0, 0, 0, 0, 1, 5],
        [0, 0, 0, 0, 0, 1],
    ],
    dtype=np.float64,
)
_POWER = np.maximum(np.arange(6) - np.arange(6)[:, None], 0)


class Curve:
    """N pieces for D joints. Immutable; cheap to sample at rising times.

    Piece k begins at ``begins[k]`` (s) and is the polynomial with ``coefficients[k]`` (6, D) of
    the time since then. Joints are in rad.
    """

    def __init__(self, begins: np.ndarray, coefficients: np.ndarray, end: float) -> None:
        """Take pieces (N,), (N, 6, D) and the time of coming to rest, not before the last one."""
        self.begins = begins
        self.coefficients = coefficients
        self.start = float(begins[0])
        self.end = end
        self._times = begins.tolist()
        self._columns = coefficients.shape[2]
        self._table: np.ndarray | None = None
        self._rest = np.zeros((3, self._columns))
        self._rest[0] = _powers(end - self._times[-1]) @ coefficients[-1]
        self._rest.setflags(write=False)

    @classmethod
    def still(cls, position: np.ndarray, time: float) -> Curve:
        """Rest at ``position`` (D,)."""
        coefficients = np.zeros((1, ORDER, len(position)))
        coefficients[0, 0] = position
        return cls(np.array([time]), coefficients, time)

    @property
    def durations(self) -> np.ndarray:
        """Seconds that each piece lasts: (N,)."""
        return np.diff(self.begins, append=self.end)

    @property
    def rest(self) -> np.ndarray:
        """Where it ends: (D,)."""
        return self._rest[0]

    def sample(self, time: float) -> np.ndarray:
        """Position, velocity, acceleration at ``time``: (3, D), not to be written to.

        At rest after the end, and before the start in the place where it begins.
        """
        if time >= self.end:
            return self._rest
        index = bisect_right(self._times, time) - 1
        if index < 0:
            if self._times[0] - time > _ROUNDING:
                state = np.zeros((3, self._columns))
                state[0] = self.coefficients[0, 0]
                return state
            index, time = 0, self._times[0]
        if self._table is None:
            self._table = _tabulate(self.coefficients)
        state = _powers(time - self._times[index]) @ self._table[index]
        return state.reshape(3, self._columns)

    def positions(self, times: np.ndarray) -> np.ndarray:
        """Positions (n, D) at ``times`` (n,), as `sample` gives them."""
        times = np.clip(times, self.start, self.end)
        index = np.searchsorted(self.begins, times, side="right") - 1
        powers = (times - self.begins[index])[:, None] ** np.arange(ORDER)
        return np.einsum("nk,nkd->nd", powers, self.coefficients[index])

    def cut(self, begin: float) -> Curve:
        """The part from ``begin`` on, which must not lie before the start but by rounding."""
        if begin >= self.end:
            return Curve.still(self.rest, begin)
        index = max(0, bisect_right(self._times, begin) - 1)
        begins = self.begins[index:].copy()
        coefficients = self.coefficients[index:].copy()
        coefficients[0] = _shift(np.array([begin - begins[0]]))[0] @ coefficients[0]
        begins[0] = begin
        return Curve(begins, coefficients, self.end)

    def then(self, later: Curve) -> Curve:
        """This one until ``later`` starts, which must not be before this one does; then that."""
        kept = int(np.searchsorted(self.begins, later.start))
        begins, pieces = [self.begins[:kept]], [self.coefficients[:kept]]
        if self.end < later.start:
            pause = Curve.still(self.rest, self.end)
            begins.append(pause.begins)
            pieces.append(pause.coefficients)
        return Curve(
            np.concatenate([*begins, later.begins]),
            np.concatenate([*pieces, later.coefficients]),
            later.end,
        )

    def plus(self, quintic: np.ndarray, duration: float) -> Curve:
        """The sum with one quintic (6, D) over the first ``duration`` seconds.

        The quintic must end with position, velocity and acceleration zero.
        """
        done = self.start + duration
        begins, coefficients = self._split(done)
        count = int(np.searchsorted(begins, done))
        coefficients[:count] += _shift(begins[:count] - self.start) @ quintic
        return Curve(begins, coefficients, max(self.end, done))

    def _split(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Copies of the pieces; one of them begins at ``time`` > start, or the last ends there."""
        if time >= self.end:
            if time == self.end:
                return self.begins.copy(), self.coefficients.copy()
            extended = self.then(Curve.still(self.rest, self.end))
            return extended.begins, extended.coefficients
        rest = self.cut(time)
        kept = int(np.searchsorted(self.begins, time))
        return (
            np.concatenate([self.begins[:kept], rest.begins]),
            np.concatenate([self.coefficients[:kept], rest.coefficients]),
        )

    def stretched(self, factor: float) -> Curve:
        """The same path from its start on, ``factor`` >= 1 times slower.

        Velocity falls by the factor, acceleration by its square, jerk by its cube.
        """
        scale = factor ** -np.arange(float(ORDER))
        return Curve(
            self.start + (self.begins - self.start) * factor,
            self.coefficients * scale[:, None],
            self.start + (self.end - self.start) * factor,
        )

    def shifted(self, by: float) -> Curve:
        """The same motion ``by`` seconds later."""
        return Curve(self.begins + by, self.coefficients, self.end + by) if by else self


def hermite(begin: np.ndarray, end: np.ndarray, duration: float) -> np.ndarray:
    """The quintic (6, D) from one state (3, D) to another: of all, the one with the least jerk."""
    time = duration
    q, v, a = begin
    reach = end[0] - q - v * time - a * time**2 / 2
    speed = (end[1] - v - a * time) * time
    curve = (end[2] - a) * time**2
    return np.stack(
        [
            q,
            v,
            a / 2,
            (10 * reach - 4 * speed + curve / 2) / time**3,
            (-15 * reach + 7 * speed - curve) / time**4,
            (6 * reach - 3 * speed + curve / 2) / time**5,
        ]
    )


def _powers(x: float) -> np.ndarray:
    x2 = x * x
    x3 = x2 * x
    return np.array((1.0, x, x2, x3, x2 * x2, x3 * x2))


def _tabulate(coefficients: np.ndarray) -> np.ndarray:
    """Coefficients (N, 6, 3 D) of position, velocity and acceleration side by side."""
    pieces, _, columns = coefficients.shape
    table = np.zeros((pieces, ORDER, 3, columns))
    for derivative in range(3):
        kept = ORDER - derivative
        factors = _DERIVATIVE[derivative, :kept, None]
        table[:, :kept, derivative] = factors * coefficients[:, derivative:]
    return table.reshape(pieces, ORDER, 3 * columns)


def _shift(by: np.ndarray) -> np.ndarray:
    """Matrices (N, 6, 6) that turn coefficients about 0 into those about ``by`` (N,)."""
    return _BINOMIAL * by[:, None, None] ** _POWER
