# SPDX-License-Identifier: Apache-2.0
"""Shortest ways among rectangles, exact: by a visibility graph over the obstacles' corners."""

import numpy as np

from dm0_ros.navigation.free_space import FreeSpace


class Corners:
    """The corners of a free space and the straight ways between them; made once for a house."""

    def __init__(self, space: FreeSpace) -> None:
        self.space = space
        self.points = space.corners()
        gaps = np.linalg.norm(self.points[:, None] - self.points[None], axis=-1)
        self.lengths = np.where(space.is_clear(self.points, self.points), gaps, np.inf)


class Geodesic:
    """Geodesic distance from anywhere to the nearest of some goals (G, 2), and the way there."""

    def __init__(self, corners: Corners, goals: np.ndarray) -> None:
        self.corners, self.goals = corners, np.asarray(goals, float).reshape(-1, 2)
        gaps, nearest = self._to_goals(corners.points)
        # Bellman-Ford: as many rounds as the longest way has bends.
        self._next = np.full(len(corners.points), -1)  # the corner after each; -1: a goal
        self._nearest = nearest
        while True:
            sums = corners.lengths + gaps[None]
            best = sums.argmin(1)
            shorter = sums[np.arange(len(best)), best] < gaps - 1e-12
            if not shorter.any():
                break
            gaps = np.where(shorter, sums[np.arange(len(best)), best], gaps)
            self._next = np.where(shorter, best, self._next)
        self._gaps = gaps

    def _to_goals(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Straight distance (N,) to the nearest goal in sight, inf for none, and which (N,)."""
        if not len(self.goals):
            return np.full(len(points), np.inf), np.zeros(len(points), int)
        gaps = np.linalg.norm(points[:, None] - self.goals[None], axis=-1)
        gaps = np.where(self.corners.space.is_clear(points, self.goals), gaps, np.inf)
        return gaps.min(1), gaps.argmin(1)

    def _via_corners(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        places = self.corners.points
        gaps = np.linalg.norm(points[:, None] - places[None], axis=-1) + self._gaps
        gaps = np.where(self.corners.space.is_clear(points, places), gaps, np.inf)
        return gaps.min(1), gaps.argmin(1)

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Distance (N,) in m from points (N, 2); inf where no way leads to a goal."""
        points = np.asarray(points, float).reshape(-1, 2)
        return np.minimum(self._to_goals(points)[0], self._via_corners(points)[0])

    def path(self, start: np.ndarray) -> np.ndarray:
        """The shortest way (N, 2) from ``start`` to the nearest goal, both included.

        Empty (0, 2) where there is none.
        """
        point = np.asarray(start, float).reshape(1, 2)
        (straight,), (goal,) = self._to_goals(point)
        (bent,), (corner,) = self._via_corners(point)
        if not np.isfinite(min(straight, bent)):
            return np.empty((0, 2))
        way = [point[0]]
        if straight > bent:
            while corner >= 0:
                way.append(self.corners.points[corner])
                last, corner = corner, self._next[corner]
            goal = self._nearest[last]
        return np.array([*way, self.goals[goal]])
