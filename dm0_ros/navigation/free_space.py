# SPDX-License-Identifier: Apache-2.0
"""Where a round base fits in a house, and how far a straight drive gets."""

import numpy as np

from dm0_ros.navigation.house import House

_TOUCH = 1e-9  # m: touching an obstacle is not going through it
_DRAWS = 4  # for each point that is asked for, at once


class FreeSpace:
    """The places of a disc's centre.

    Obstacles grow by the radius to every side; their corners stay square, so that shortest paths
    are polygons along them. Points are (N, 2) in m.
    """

    def __init__(self, house: House, radius: float) -> None:
        self.house, self.radius = house, radius
        grown = [-radius, -radius, radius, radius]
        self.rectangles = house.obstacles + grown
        self._rooms = house.room_rectangles

    def is_free(self, points: np.ndarray) -> np.ndarray:
        """Whether the base fits at each point (N,): inside of a room, away from obstacles."""
        points = np.asarray(points, float).reshape(-1, 2)
        inside = _within(points, self._rooms, -_TOUCH).any(1)
        return inside & ~_within(points, self.rectangles, _TOUCH).any(1)

    def is_clear(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Whether the straight line from each start (N, 2) to each end (M, 2) is free (N, M)."""
        starts, ends = np.asarray(starts, float)[:, None], np.asarray(ends, float)[None]
        return ~_hits(starts, ends, self.rectangles).any(-1)

    def drive(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Where a straight drive from ``start`` towards ``end`` (2,) gets: it stops at obstacles.

        Nothing slides along a wall, as in ObjectNav (``allow_sliding: False``).
        """
        start, end = np.asarray(start, float), np.asarray(end, float)
        enters, leaves = _crossings(start[None], end[None], self.rectangles)
        hit = (enters < leaves) & (enters < 1) & (leaves > 0)
        share = np.clip(np.min(enters[hit], initial=1.0), 0.0, 1.0)
        length = np.linalg.norm(end - start)
        # A hair before the obstacle: rounding must not put the base into it.
        share = max(0.0, share - 1e-6 / length) if share < 1 and length > 0 else share
        return start + share * (end - start)

    def sample(self, random: np.random.Generator, count: int) -> np.ndarray:
        """Random free points (count, 2), uniform."""
        lower, upper = self._rooms[:, :2].min(0), self._rooms[:, 2:].max(0)
        found = np.empty((0, 2))
        while len(found) < count:
            points = random.uniform(lower, upper, (_DRAWS * count, 2))
            found = np.concatenate([found, points[self.is_free(points)]])
        return found[:count]

    def grid(self, spacing: float) -> np.ndarray:
        """Free points (N, 2) on a grid over the house."""
        lower, upper = self._rooms[:, :2].min(0), self._rooms[:, 2:].max(0)
        axes = [np.arange(a + spacing / 2, b, spacing) for a, b in zip(lower, upper, strict=True)]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
        return points[self.is_free(points)]

    def corners(self) -> np.ndarray:
        """Free corners (N, 2) of the grown obstacles, where shortest paths can bend."""
        x0, y0, x1, y1 = self.rectangles.T
        corners = np.concatenate(
            [np.stack(pair, 1) for pair in ((x0, y0), (x0, y1), (x1, y0), (x1, y1))]
        )
        return np.unique(corners[self.is_free(corners)].round(9), axis=0)


def _within(points: np.ndarray, rectangles: np.ndarray, margin: float) -> np.ndarray:
    """Whether each point is inside of each rectangle by more than ``margin``: (N, R)."""
    lower, upper = rectangles[:, :2] + margin, rectangles[:, 2:] - margin
    return ((points[:, None] > lower) & (points[:, None] < upper)).all(-1)


def _crossings(starts: np.ndarray, ends: np.ndarray, rectangles: np.ndarray):
    """Shares of the way from start to end (..., 2) at which lines enter and leave rectangles."""
    with np.errstate(divide="ignore", invalid="ignore"):
        move = (ends - starts)[..., None, :]
        one = (rectangles[:, :2] + _TOUCH - starts[..., None, :]) / move
        two = (rectangles[:, 2:] - _TOUCH - starts[..., None, :]) / move
    # A line along an axis outside of a rectangle's band never enters; 0 / 0 cannot be told apart.
    enters = np.fmin(one, two).max(-1)
    leaves = np.fmax(one, two).min(-1)
    return enters, leaves


def _hits(starts: np.ndarray, ends: np.ndarray, rectangles: np.ndarray) -> np.ndarray:
    enters, leaves = _crossings(starts, ends, rectangles)
    return (enters < leaves) & (enters < 1) & (leaves > 0)
