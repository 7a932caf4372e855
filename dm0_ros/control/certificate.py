# SPDX-License-Identifier: Apache-2.0
"""What a motion asks of every joint at most, proven over all of it and not sampled.

Jerk and acceleration are exact: extremes of polynomials of degree 2 and 3. Velocity and position
are upper bounds: samples, plus what a curve of that bend can do between two of them.
"""

from dataclasses import dataclass
from math import comb

import numpy as np

from dm0_ros.control.curve import ORDER, Curve
from dm0_ros.control.limits import Limits

_SPANS = 8  # between samples of one piece
_TOLERANCE = 1e-9  # rad, or of a limit: rounding breaks nothing
_KINDS = ("position", "velocity", "acceleration", "jerk")


def _sampling() -> np.ndarray:
    """Position (and velocity times duration) at all samples of a piece: (2 * (spans + 1), 6)."""
    x = np.linspace(0, 1, _SPANS + 1)[:, None]
    power = np.arange(ORDER)
    slope = power * x ** np.maximum(power - 1, 0)
    return np.concatenate([x**power, slope])


def _bezier() -> np.ndarray:
    """Coefficients on [0, 1] to control points, whose hull holds the piece: (6, 6)."""
    degree = ORDER - 1
    return np.array(
        [[comb(row, column) / comb(degree, column) for column in range(ORDER)] for row in range(6)]
    )


_SAMPLING = _sampling()
_BEZIER = _bezier()


@dataclass(frozen=True)
class Certificate:
    """Bounds by joint, each (D,)."""

    lowest: np.ndarray  # rad
    highest: np.ndarray
    velocity: np.ndarray  # rad/s and so on, absolute values
    acceleration: np.ndarray
    jerk: np.ndarray

    def broken(self, limits: Limits) -> np.ndarray:
        """Which limits may be broken: (4, D) bool; position, velocity, acceleration, jerk."""
        arm, room = limits.arm, 1 + _TOLERANCE
        return np.stack(
            [
                (self.lowest < limits.lower[arm] - _TOLERANCE)
                | (self.highest > limits.upper[arm] + _TOLERANCE),
                self.velocity > limits.velocity[arm] * room,
                self.acceleration > limits.acceleration[arm] * room,
                self.jerk > limits.jerk[arm] * room,
            ]
        )

    def stretch(self, limits: Limits) -> float:
        """How many times slower the motion has to be, at least 1, to keep all but position."""
        arm = limits.arm
        factors = (
            self.velocity / limits.velocity[arm],
            np.sqrt(self.acceleration / limits.acceleration[arm]),
            np.cbrt(self.jerk / limits.jerk[arm]),
        )
        return max(1.0, *(float(factor.max(initial=0.0)) for factor in factors))


def certify(curve: Curve) -> Certificate:
    """Bounds of a motion from its start to its end."""
    duration = curve.durations[:, None]
    scaled = curve.coefficients * duration[:, :, None] ** np.arange(ORDER)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        jerk, acceleration = _extremes(scaled)
    samples = _SAMPLING @ scaled
    position, velocity = samples[:, : _SPANS + 1], np.abs(samples[:, _SPANS + 1 :])
    # A twice differentiable function exceeds its samples by at most |f''| spacing^2 / 8.
    slack = 1 / (8 * _SPANS**2)
    points = _BEZIER @ scaled
    lowest = np.maximum(position.min(1) - slack * acceleration, points.min(1))
    highest = np.minimum(position.max(1) + slack * acceleration, points.max(1))
    moving = duration[:, 0] > 0
    duration = duration[moving]
    speed = (velocity.max(1) + slack * jerk)[moving] / duration
    return Certificate(
        lowest.min(0),
        highest.max(0),
        speed.max(0, initial=0.0),
        (acceleration[moving] / duration**2).max(0, initial=0.0),
        (jerk[moving] / duration**3).max(0, initial=0.0),
    )


def explain(broken: np.ndarray, limits: Limits) -> tuple[str, ...]:
    """``<joint>: <limit>`` for each that is set in (4, D)."""
    names = limits.names
    return tuple(
        f"{names[column]}: {_KINDS[kind]}" for column, kind in np.argwhere(broken.T).tolist()
    )


def _extremes(scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Largest absolute third and second derivative on [0, 1] of pieces (N, 6, D): (N, D) each."""
    c, b, a = 6 * scaled[:, 3], 24 * scaled[:, 4], 60 * scaled[:, 5]  # jerk: c + b x + a x^2

    def jerk(x: np.ndarray) -> np.ndarray:
        return np.abs(c + x * (b + x * a))

    def acceleration(x: np.ndarray) -> np.ndarray:
        return np.abs(2 * scaled[:, 2] + x * (c + x * (b / 2 + x * (a / 3))))

    ends = np.zeros_like(c), np.ones_like(c)
    root = np.sqrt(np.maximum(b * b - 4 * a * c, 0.0))
    stable = -(b + np.copysign(root, b)) / 2
    largest_jerk = _largest(jerk, (*ends, _within(-b / (2 * a))))
    turns = (*ends, _within(stable / a), _within(c / stable))
    return largest_jerk, _largest(acceleration, turns)


def _within(x: np.ndarray) -> np.ndarray:
    """``x`` where it lies in [0, 1]; else, as where it is no number, a place that does."""
    return np.where((x > 0) & (x < 1), x, 0.0)


def _largest(function, places) -> np.ndarray:
    return np.maximum.reduce([function(place) for place in places])
