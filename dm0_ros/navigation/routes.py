# SPDX-License-Identifier: Apache-2.0
"""What a head wants of a base, in the base's frame at the observation: a route, or velocities."""

import math
from dataclasses import dataclass

import numpy as np

from dm0_ros.errors import PlanError
from dm0_ros.navigation.pursuit import integrate


@dataclass(frozen=True)
class Route:
    """Places to drive through and the heading wanted at each; an empty route means stop.

    ``poses`` (N, 3): x ahead and y to the left in m, yaw to the left in rad. Raises `PlanError`
    unless they are finite.
    """

    poses: np.ndarray

    def __post_init__(self) -> None:
        _check(self.poses, "waypoints (x, y, yaw)")

    @property
    def stays(self) -> bool:
        """Whether it leads nowhere."""
        return not len(self.poses)

    def length(self) -> float:
        """Length of the way through all places, m."""
        return float(np.linalg.norm(np.diff(self._places(), axis=0), axis=1).sum())

    def ahead(self, place: np.ndarray, distance: float) -> np.ndarray:
        """The point (2,) ``distance`` m further along than the way's nearest to ``place``."""
        places = self._places()
        starts, moves = places[:-1], np.diff(places, axis=0)
        lengths = np.linalg.norm(moves, axis=1)
        squares = np.maximum(lengths**2, 1e-12)
        shares = np.clip(((place - starts) * moves).sum(1) / squares, 0.0, 1.0)
        gaps = np.linalg.norm(starts + shares[:, None] * moves - place, axis=1)
        nearest = int(np.argmin(gaps))
        sums = np.concatenate([[0.0], np.cumsum(lengths)])
        where = sums[nearest] + shares[nearest] * lengths[nearest] + distance
        return np.array([np.interp(where, sums, column) for column in places.T])

    def _places(self) -> np.ndarray:
        """From the base (2,) through all waypoints: (N + 1, 2)."""
        return np.vstack([np.zeros((1, 2)), self.poses[:, :2]])


@dataclass(frozen=True)
class Velocities:
    """Body-frame velocities in time: row k holds from ``k * step`` on; all zero means stop.

    ``rows`` (H, 3): m/s ahead, m/s to the left, rad/s to the left. Raises `PlanError` unless they
    are finite and the step is positive.
    """

    step: float  # s
    rows: np.ndarray

    def __post_init__(self) -> None:
        _check(self.rows, "velocities (vx, vy, wz)")
        if not len(self.rows) or not self.step > 0:
            raise PlanError("velocities need at least one row and a positive step")

    @property
    def duration(self) -> float:
        """Seconds that the rows last."""
        return self.step * len(self.rows)

    def at(self, elapsed: float) -> np.ndarray:
        """The row (3,) at ``elapsed`` s after the first began; zero after the last."""
        index = int(elapsed / self.step + 1e-9)
        return self.rows[max(index, 0)] if index < len(self.rows) else np.zeros(3)

    def route(self) -> Route:
        """The poses after each row."""
        pose, poses = np.zeros(3), []
        for row in self.rows:
            pose = integrate(pose, row, self.step)
            poses.append(pose)
        return Route(np.array(poses))


Motion = Route | Velocities


def ends_here(route: Route, distance: float = 0.25, turn: float = math.pi) -> bool:
    """Whether a route over the next seconds drives less than ``distance`` m and turns less than
    ``turn`` rad in all, which means: here.

    By default turns do not count. A plan as `plan_twists` makes them drives on within its seconds,
    whichever way the base faces, unless it is at the end of its way.
    """
    turned = float(np.abs(route.poses[:, 2]).max(initial=0.0))
    return route.length() < distance and turned <= turn


def _check(values: np.ndarray, what: str) -> None:
    if np.ndim(values) != 2 or np.shape(values)[1] != 3:
        raise PlanError(f"{what} must have the shape (rows, 3), not {np.shape(values)}")
    if not np.isfinite(values).all():
        raise PlanError(f"{what} are not finite; the model that gave them is broken")
