# SPDX-License-Identifier: Apache-2.0
"""From pixels back into space: where the ray of a pixel meets a level surface."""

from dataclasses import dataclass

import numpy as np

from dm0_ros.robots.cameras import Projection
from dm0_ros.scaffold.sketch import Sketch


def lift_to_height(projection: Projection, pixels: np.ndarray, height: float) -> np.ndarray:
    """Points (N, 3) m of pixels (N, 2) on the plane z = ``height``, in the projection's frame.

    The inverse of `Projection.project` for points of that plane. NaN where a ray goes above the
    horizon or runs along the plane, so that it never meets the plane in front of the camera.
    """
    centre = np.array([projection.width, projection.height]) / 2
    seen = (np.asarray(pixels, float).reshape(-1, 2) - centre) / projection.focal
    rays = np.column_stack([seen, np.ones(len(seen))]) @ projection.axes
    drop = height - projection.position[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        distances = drop / rays[:, 2]
        met = np.isfinite(distances) & (distances > 0)
        points = projection.position + np.where(met, distances, np.nan)[:, None] * rays
    points[:, 2] = np.where(met, height, np.nan)
    return points


def corners_of(box: np.ndarray) -> np.ndarray:
    """The corners (4, 2) of a box (4,) of pixels, clockwise from the top left."""
    left, top, right, bottom = box
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


@dataclass(frozen=True)
class Lifted:
    """A sketch in space: points in m, in the frame of the projection."""

    box: np.ndarray | None  # (4, 3): corners of the goal, clockwise as one looks at it
    paths: tuple[np.ndarray, ...]  # each (N, 3)


def lift_sketch(sketch: Sketch, projection: Projection, height: float) -> Lifted:
    """What a sketch marks, on the plane z = ``height`` (m).

    Parts that do not meet the plane are left out: a box unless all four corners do, and those
    points of a path that do not.
    """
    sketch = sketch.scale_to(projection.width, projection.height)
    paths = [lift_to_height(projection, path, height) for path in sketch.paths]
    box = None
    if sketch.box is not None:
        corners = lift_to_height(projection, corners_of(sketch.box), height)
        box = corners if np.isfinite(corners).all() else None
    return Lifted(box, tuple(path[np.isfinite(path[:, 0])] for path in paths))
