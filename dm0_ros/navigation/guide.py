# SPDX-License-Identifier: Apache-2.0
"""A guide who knows the house: which way leads to the nearest object of a category.

It keeps clear of corners and goes up to the object, as a person would; ObjectNav's own distances
are those of `Geodesic` with the agent's radius.
"""

import numpy as np

from dm0_ros.navigation.free_space import FreeSpace
from dm0_ros.navigation.geodesic import Corners, Geodesic
from dm0_ros.navigation.house import House
from dm0_ros.navigation.pursuit import PursuitSettings, plan_twists
from dm0_ros.navigation.view_points import find_view_points, gap_to

_SPACING = 0.1  # m between the places that a base too near to an obstacle goes to first


class Guide:
    """Plans of a base for every category of a house."""

    def __init__(
        self, house: House, radius: float, clearance: float, reach: float, eye_height: float
    ) -> None:
        """``clearance`` m beside obstacles; the ways end within ``reach`` m of an object."""
        self.house, self._footprints = house, house.footprints
        self.space = FreeSpace(house, radius + clearance)
        self.near = FreeSpace(house, radius)
        self._grid = self.space.grid(_SPACING)
        corners = Corners(self.space)
        self._ways = {
            category: Geodesic(corners, find_view_points(self.space, category, reach, eye_height))
            for category in house.categories
        }

    def way(self, place: np.ndarray, category: str) -> np.ndarray:
        """The way (N, 2) from ``place`` (2,) to the nearest object of that category."""
        place = np.asarray(place, float)
        if self.space.is_free(place)[0]:
            return self._ways[category].path(place)
        # Too near to something: first to the nearest place that is not, and can be driven to.
        gaps = np.linalg.norm(self._grid - place, axis=1)
        for index in np.argsort(gaps)[:50]:
            if self.near.is_clear(place[None], self._grid[index][None])[0, 0]:
                break
        else:
            index = gaps.argmin()
        return np.vstack([place, self._ways[category].path(self._grid[index])])

    def plan(
        self,
        pose: np.ndarray,
        categories: tuple[str, ...],
        rows: int,
        step: float,
        settings: PursuitSettings,
    ) -> np.ndarray:
        """Velocities (C, rows, 3) from ``pose`` (3,) to an object of each category; `plan_twists`.

        Each plan ends with a look at the object.
        """
        ways = [self.way(pose[:2], category) for category in categories]
        faces = [self.face(way[-1:], name) for way, name in zip(ways, categories, strict=True)]
        return plan_twists(pose, ways, np.array(faces), rows, step, settings)

    def face(self, end: np.ndarray, category: str) -> np.ndarray:
        """The middle (2,) of the category's object that is nearest to ``end`` (1, 2)."""
        pieces = self.house.pieces_of(category)
        rectangles = [self._footprints[piece.name] for piece in pieces]
        nearest = min(rectangles, key=lambda rectangle: gap_to(end, rectangle)[0])
        return (nearest[:2] + nearest[2:]) / 2
