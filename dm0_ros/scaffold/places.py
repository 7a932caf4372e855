# SPDX-License-Identifier: Apache-2.0
"""Pixels of a picture to the places of a scaffold and back, and how far two scaffolds differ.

Pixels (u, v) are real numbers from the picture's top left corner: 0 is the left edge of the first
column, ``width`` the right edge of the last. Places are 0 at the one and `SCALE` at the other, so
they mean the same in a picture of any size.
"""

import numpy as np
from numpy.typing import ArrayLike

from dm0_ros.errors import ScaffoldError
from dm0_ros.scaffold.content import SCALE


def to_places(pixels: ArrayLike, width: int, height: int) -> np.ndarray:
    """Places (..., 2) int64 of pixels (..., 2).

    Raises `ScaffoldError` where one is not finite or outside the picture; `clip_to_picture` first
    where the nearest place in it is what is meant.
    """
    pixels, size = _pairs(pixels), _size(width, height)
    outside = ~np.all((pixels >= 0) & (pixels <= size), axis=-1)
    if np.any(outside):
        u, v = pixels[outside][0]
        raise ScaffoldError(
            f"pixel ({u:g}, {v:g}) is not in the picture of {width} x {height}; leave it out, "
            "or clip it if the nearest place in the picture will do"
        )
    return np.rint(pixels / size * SCALE).astype(np.int64)


def to_pixels(places: ArrayLike, width: int, height: int) -> np.ndarray:
    """Pixels (..., 2) float64 of places (..., 2); raises `ScaffoldError` for other shapes."""
    return _pairs(places) / SCALE * _size(width, height)


def clip_to_picture(pixels: ArrayLike, width: int, height: int) -> np.ndarray:
    """The pixels (..., 2), those outside moved to the edge nearest to them; NaN stays NaN."""
    return np.clip(_pairs(pixels), 0.0, _size(width, height))


def box_to_places(box: ArrayLike, width: int, height: int) -> tuple[int, int, int, int]:
    """A box (u_min, v_min, u_max, v_max) in pixels as `Scaffold.box`; raises as `to_places`."""
    corners = to_places(np.reshape(_box(box), (2, 2)), width, height)
    x_min, y_min, x_max, y_max = corners.ravel().tolist()
    return x_min, y_min, x_max, y_max


def box_to_pixels(box: ArrayLike, width: int, height: int) -> np.ndarray:
    """`Scaffold.box` as (u_min, v_min, u_max, v_max) in pixels, (4,) float64."""
    return to_pixels(np.reshape(_box(box), (2, 2)), width, height).ravel()


def path_to_places(pixels: ArrayLike, width: int, height: int) -> tuple[tuple[int, int], ...]:
    """Pixels (n, 2) as a path of `Scaffold.paths`; raises as `to_places`."""
    return tuple((x, y) for x, y in to_places(pixels, width, height).tolist())


def box_iou(first: ArrayLike, second: ArrayLike) -> float:
    """Area in both boxes over area in either, 0 to 1; of boxes without area 1 if they are equal.

    Boxes are (x_min, y_min, x_max, y_max), both in pixels or both in places of one picture.
    """
    first, second = _box(first), _box(second)
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    both = float(np.prod(np.maximum(high - low, 0.0)))
    either = float(np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2])) - both
    return both / either if either > 0 else float(np.array_equal(first, second))


def path_error(path: ArrayLike, truth: ArrayLike) -> float:
    """Mean distance of a path (n, 2) to the true one (m, 2), both in pixels.

    Both begin and end at the same times, with equal times between their points: a path of another
    number of points is interpolated at the truth's.
    """
    path, truth = _pairs(path), _pairs(truth)
    if not len(path) or not len(truth) or path.ndim != 2 or truth.ndim != 2:
        raise ScaffoldError(f"paths are (n, 2), n > 0; found {path.shape} and {truth.shape}")
    times, wanted = np.linspace(0.0, 1.0, len(path)), np.linspace(0.0, 1.0, len(truth))
    nearest = np.stack([np.interp(wanted, times, path[:, axis]) for axis in range(2)], axis=1)
    return float(np.mean(np.linalg.norm(nearest - truth, axis=1)))


def _pairs(values: ArrayLike) -> np.ndarray:
    pairs = np.asarray(values, np.float64)
    if pairs.ndim < 1 or pairs.shape[-1] != 2:
        raise ScaffoldError(f"expected pairs (..., 2), found shape {pairs.shape}")
    return pairs


def _box(values: ArrayLike) -> np.ndarray:
    box = np.asarray(values, np.float64)
    if box.shape != (4,) or not np.all(box[:2] <= box[2:]):
        raise ScaffoldError(
            f"expected a box (x_min, y_min, x_max, y_max), found {np.array2string(box)}"
        )
    return box


def _size(width: int, height: int) -> np.ndarray:
    if width < 1 or height < 1:
        raise ScaffoldError(f"a picture of {width} x {height} has no places")
    return np.array([width, height], np.float64)
