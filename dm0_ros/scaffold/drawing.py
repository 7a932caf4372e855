# SPDX-License-Identifier: Apache-2.0
"""Drawing primitives of the overlay: paths and captions on pictures. Knows no robot and no ROS."""

import functools
import itertools
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

_SHIFT = 3  # fractional bits of the coordinates given to OpenCV
_NEAR, _FAR = np.array([255.0, 221.0, 0.0]), np.array([213.0, 0.0, 120.0])  # RGB
BOX_COLOUR, PATH_COLOUR = (0, 230, 118), (0, 200, 255)  # RGB: green and cyan, unlike the plan's
TRAIL_COLOUR = (255, 255, 255)  # RGB: of ways that were gone
_EDGE = (0, 0, 0)  # around what is drawn, so that it stands out from any ground
_DASH = 6.0  # lengths of a dash and of a gap, in thicknesses


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


def draw_box(
    picture: np.ndarray,
    box: np.ndarray,
    thickness: int = 2,
    colour: tuple[int, int, int] = BOX_COLOUR,
) -> None:
    """Draw a box (4,: x_min, y_min, x_max, y_max in pixels) into a picture, with a dark edge."""
    corners = _fixed_point(box[:2]), _fixed_point(box[2:])
    if None in corners:
        return
    for shade, width in ((_EDGE, thickness + 2), (colour, thickness)):
        cv2.rectangle(picture, *corners, shade, width, cv2.LINE_AA, _SHIFT)


def draw_waypoints(picture: np.ndarray, pixels: np.ndarray, thickness: int = 2) -> None:
    """Draw a told path (N, 2) into a picture: dashed, cyan, a dot at every point of it.

    Unlike `draw_path`, which is solid and yellow to red, so that the two can be told apart.
    """
    pieces = itertools.pairwise(pixels)
    dashes = [dash for start, end in pieces for dash in _dash(start, end, _DASH * thickness)]
    dots = [point for point in map(_fixed_point, pixels) if point]
    for colour, width in ((_EDGE, thickness + 2), (PATH_COLOUR, thickness)):
        for start, end in dashes:
            cv2.line(picture, start, end, colour, width, cv2.LINE_AA, _SHIFT)
        radius = (thickness + width) << _SHIFT
        for dot in dots:
            cv2.circle(picture, dot, radius, colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def draw_trail(
    picture: np.ndarray,
    pixels: np.ndarray,
    thickness: int = 2,
    colour: tuple[int, int, int] = TRAIL_COLOUR,
) -> None:
    """Draw a way (N, 2) that was gone into a picture: solid, white with a dark edge, a dot at its
    end. Pieces that touch a pixel which is not finite are left out."""
    points = [_fixed_point(pixel) for pixel in pixels]
    pieces = [(a, b) for a, b in itertools.pairwise(points) if a and b]
    for shade, width in ((_EDGE, thickness + 2), (colour, thickness)):
        for start, end in pieces:
            cv2.line(picture, start, end, shade, width, cv2.LINE_AA, _SHIFT)
        if points and points[-1]:
            radius = (thickness + width) << _SHIFT
            cv2.circle(picture, points[-1], radius, shade, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _dash(start: np.ndarray, end: np.ndarray, length: float) -> list[tuple]:
    """The dashes (start, end) in OpenCV's numbers along a straight piece."""
    if not _fixed_point(start) or not _fixed_point(end):
        return []
    whole = float(np.linalg.norm(end - start))
    begins = np.arange(0.0, whole, 2 * length)
    shares = np.stack([begins, np.minimum(begins + length, whole)], axis=1) / max(whole, 1e-9)
    return [
        tuple(_fixed_point(start + share * (end - start)) for share in pair) for pair in shares
    ]


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
