# SPDX-License-Identifier: Apache-2.0
"""Drawing primitives of the overlay: paths and captions on pictures. Knows no robot and no ROS."""

import functools
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

_SHIFT = 3  # fractional bits of the coordinates given to OpenCV
_NEAR, _FAR = np.array([255.0, 221.0, 0.0]), np.array([213.0, 0.0, 120.0])  # RGB


def horizon_colours(count: int) -> np.ndarray:
    """Colours (count, 3) in [0, 255] RGB from what comes next, yellow, to what comes last, red."""
    return _NEAR + np.linspace(0.0, 1.0, count)[:, None] * (_FAR - _NEAR)


def enlarge(picture: np.ndarray, least_width: int) -> tuple[np.ndarray, int]:
    """The picture (height, width, 3), doubled until it is wide enough, and the factor."""
    factor = 1
    while picture.shape[1] * factor < least_width:
        factor *= 2
    if factor == 1:
        return picture.copy(), 1
    size = (picture.shape[1] * factor, picture.shape[0] * factor)
    return cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC), factor


def draw_path(picture: np.ndarray, pixels: np.ndarray, thickness: int = 2) -> None:
    """Draw a path (N, 2) into a picture (height, width, 3) uint8 RGB, coloured along its way.

    Pieces that touch a pixel which is not finite are left out. A ring marks the end.
    """
    points = [_fixed_point(pixel) for pixel in pixels]
    colours = horizon_colours(len(points))
    pairs = zip(points, points[1:], colours[1:], strict=False)
    for start, end, colour in pairs:
        if start and end:
            cv2.line(picture, start, end, colour.tolist(), thickness, cv2.LINE_AA, _SHIFT)
    if points and points[-1]:
        radius = 3 * thickness << _SHIFT
        colour = colours[-1].tolist()
        cv2.circle(picture, points[-1], radius, colour, thickness, cv2.LINE_AA, _SHIFT)


def _fixed_point(pixel: np.ndarray) -> tuple[int, int] | None:
    # OpenCV counts from the middle of the first pixel; beyond its range it draws nonsense.
    if not np.all(np.abs(pixel) < 1e5):
        return None
    x, y = np.round((pixel - 0.5) * (1 << _SHIFT)).astype(int).tolist()
    return x, y


def draw_caption(picture: np.ndarray, lines: Sequence[str], size: int = 14) -> np.ndarray:
    """The picture with lines of white text on a dark bar at its top; ``size`` in pixels.

    Lines wider than the picture are cut, with an ellipsis.
    """
    if not lines:
        return picture
    font, margin = _load_font(size), size // 3
    height = min(len(lines) * (size + margin) + margin, picture.shape[0])
    picture[:height] = picture[:height] // 4
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    for index, line in enumerate(lines):
        text = _fit(line, font, picture.shape[1] - 2 * margin)
        pen.text((margin, margin // 2 + index * (size + margin)), text, (255, 255, 255), font)
    return np.asarray(image)


def _fit(line: str, font, width: float) -> str:
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line + "…"


@functools.cache
def _load_font(size: int):
    return ImageFont.load_default(size)
