# SPDX-License-Identifier: Apache-2.0
"""View points: where ObjectNav counts an object as found. Near it, and with it in sight."""

import numpy as np

from dm0_ros.navigation.free_space import FreeSpace
from dm0_ros.navigation.house import House, HouseError, Solid

SPACING = 0.1  # m between view points; half of the success distance is less than this apart


def find_view_points(
    space: FreeSpace, category: str, distance: float, eye_height: float
) -> np.ndarray:
    """Free points (N, 2) within ``distance`` (m) of a piece of that category, which sees it.

    The distance is that to the rectangle which the piece covers. Raises `HouseError` where there
    is none.
    """
    points = space.grid(SPACING)
    found = np.zeros(len(points), bool)
    for piece in space.house.pieces_of(category):
        rectangle = space.house.footprints[piece.name]
        near = np.flatnonzero(gap_to(points, rectangle) <= distance)
        eyes = np.column_stack([points[near], np.full(len(near), eye_height)])
        found[near[can_see(space.house, eyes, piece.name)]] = True
    if not found.any():
        raise HouseError(
            f"{space.house.name}: no free place within {distance:g} m sees a {category}; move it"
        )
    return points[found]


def gap_to(points: np.ndarray, rectangle: np.ndarray) -> np.ndarray:
    """Distance (N,) of points (N, 2) from a rectangle (4,); 0 inside."""
    outside = np.maximum(rectangle[:2] - points, points - rectangle[2:])
    return np.linalg.norm(np.maximum(outside, 0.0), axis=1)


def can_see(house: House, eyes: np.ndarray, name: str) -> np.ndarray:
    """Whether each eye (N, 3) sees the middle of any part of a piece of furniture (N,)."""
    targets = np.array([solid.position for solid in house.furniture[name]])
    others = [s for other, solids in house.furniture.items() if other != name for s in solids]
    lower, upper = _boxes([*house.wall_solids, *others])
    with np.errstate(divide="ignore", invalid="ignore"):
        start = eyes[:, None, None]
        move = targets[None, :, None] - start
        one, two = (lower - start) / move, (upper - start) / move
    enters, leaves = np.fmin(one, two).max(-1), np.fmax(one, two).min(-1)
    hidden = ((enters < leaves) & (enters < 1) & (leaves > 0)).any(-1)
    return ~hidden.all(-1)


def _boxes(solids: list[Solid]) -> tuple[np.ndarray, np.ndarray]:
    middle = np.array([solid.position for solid in solids])
    half = np.array([solid.size for solid in solids]) / 2
    return middle - half, middle + half
