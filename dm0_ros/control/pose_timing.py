# SPDX-License-Identifier: Apache-2.0
"""When to be where along a path of joints: as planned, or later where limits bind."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Of the limits; the rest is for the spline through the rows.
_VELOCITY, _ACCELERATION = 0.9, 0.8
_STANDING = 1e-9  # rad/s, rad/s2: no motion at all
_ROUNDING = 1e-9  # s between nodes that are one


@dataclass(frozen=True)
class JointPath:
    """Joint positions along a plan, at rest in the last one.

    Node k is where the plan wants the arm at ``times[k]``.
    """

    times: np.ndarray  # (N,) s, rising from 0; N > 1
    joints: np.ndarray  # (N, J) rad
    velocity: np.ndarray  # (J,) rad/s at the first node

    def secants(self) -> tuple[np.ndarray, np.ndarray]:
        """Plan time (N - 1,) from node to node, and the mean velocities (N - 1, J) meanwhile."""
        spans = np.diff(self.times)
        return spans, np.diff(self.joints, axis=0) / spans[:, None]

    def slopes(self) -> np.ndarray:
        """Derivative by plan time at the nodes, (N, J): of the parabola through neighbours."""
        spans, secants = self.secants()
        slopes = np.empty_like(self.joints)
        share = (spans[:-1] / (spans[:-1] + spans[1:]))[:, None]
        slopes[1:-1] = (1 - share) * secants[:-1] + share * secants[1:]
        slopes[0], slopes[-1] = self.velocity, 0.0
        return slopes

    def bends(self) -> np.ndarray:
        """Second derivative by plan time at the nodes, (N, J); that of their neighbours at the
        ends."""
        bends = np.zeros_like(self.joints)
        if len(self.times) > 2:
            spans, secants = self.secants()
            bends[1:-1] = 2 * np.diff(secants, axis=0) / (spans[:-1] + spans[1:])[:, None]
            bends[0], bends[-1] = bends[1], bends[-2]
        return bends

    def sample(self, times: np.ndarray) -> np.ndarray:
        """Joint positions (M, J) at plan times (M,): cubic Hermite curves between nodes."""
        spans = np.diff(self.times)
        index = np.clip(np.searchsorted(self.times, times, side="right") - 1, 0, len(spans) - 1)
        span = spans[index][:, None]
        x = (times[:, None] - self.times[index][:, None]) / span
        slopes = self.slopes()
        return (
            (1 + 2 * x) * (1 - x) ** 2 * self.joints[index]
            + x * (1 - x) ** 2 * span * slopes[index]
            + x * x * (3 - 2 * x) * self.joints[index + 1]
            + x * x * (x - 1) * span * slopes[index + 1]
        )


def join_paths(paths: Sequence[JointPath], columns: Sequence[np.ndarray]) -> JointPath:
    """Paths of the same length as one, with a node wherever one of them has one.

    ``columns[i]`` are the places of path i's joints among all joints.
    """
    if len(paths) == 1:
        times = paths[0].times
    else:
        times = np.unique(np.concatenate([path.times for path in paths]))
        times = times[np.diff(times, append=np.inf) > _ROUNDING]
    joints = np.empty((len(times), sum(map(len, columns))))
    velocity = np.empty(joints.shape[1])
    for path, places in zip(paths, columns, strict=True):
        joints[:, places] = path.joints if times is path.times else path.sample(times)
        velocity[places] = path.velocity
    return JointPath(times, joints, velocity)


class PathClock:
    """Plan time as a function of time, at most as fast, within joint limits.

    Between nodes the square of the rate is linear in plan time: time-optimal parameterisation
    with a forward and a backward pass (after Bobrow, Dubowsky and Gibson, 1985). What the path's
    bends leave of the acceleration limits is for speeding up and slowing down along it.
    """

    def __init__(
        self, path: JointPath, velocity: np.ndarray, acceleration: np.ndarray, passed: float = 0.0
    ) -> None:
        """Time a path for limits (J,): rad/s, rad/s2; what is before ``passed`` (s) is over."""
        slopes = np.abs(path.slopes())
        spans, secants = path.secants()
        # between nodes a joint is at least once as fast as on the straight line
        speeds = slopes.copy()
        np.maximum(speeds[:-1], np.abs(secants), out=speeds[:-1])
        np.maximum(speeds[1:], np.abs(secants), out=speeds[1:])
        bends = np.abs(path.bends())
        most = _ACCELERATION * acceleration
        by_velocity = _VELOCITY * velocity / np.maximum(speeds, _STANDING)
        by_bend = np.sqrt(most / np.maximum(bends, _STANDING))
        by_velocity[path.times < passed] = by_bend[path.times < passed] = np.inf
        bound = np.minimum(by_velocity, by_bend)
        # (2, J): whose velocity and acceleration limits bind
        self.bound = np.stack([(by_velocity < 1).any(axis=0), (by_bend < 1).any(axis=0)])
        squares = np.minimum(1.0, bound.min(axis=1)) ** 2
        if self.bound.any():
            for order in (range(len(spans)), range(len(spans), 0, -1)):
                onward = 1 if order.step > 0 else -1
                for k in order:
                    left = np.maximum(most - bends[k] * squares[k], 0.0)
                    change = np.min(left / np.maximum(speeds[k], _STANDING))
                    reach = squares[k] + 2 * change * spans[min(k, k + onward)]
                    squares[k + onward] = min(squares[k + onward], reach)
        self._nodes = path.times
        self._rates = np.sqrt(squares)
        lasting = 2 * spans / (self._rates[:-1] + self._rates[1:])
        self._times = np.concatenate([[0.0], np.cumsum(lasting)])

    @property
    def end(self) -> float:
        """When the path is over, s."""
        return float(self._times[-1])

    def plan_times(self, times: np.ndarray) -> np.ndarray:
        """Plan times (M,) at times (M,) from 0 to the end."""
        last = len(self._nodes) - 2
        index = np.clip(np.searchsorted(self._times, times, side="right") - 1, 0, last)
        passed = np.minimum(times, self.end) - self._times[index]
        span = self._nodes[index + 1] - self._nodes[index]
        gain = (self._rates[index + 1] ** 2 - self._rates[index] ** 2) / (2 * span)
        return self._nodes[index] + self._rates[index] * passed + gain * passed**2 / 2
