# SPDX-License-Identifier: Apache-2.0
"""Pictures as training shows them: shifted, turned and recoloured by chance, as DM0 was trained.

The main view is cropped and turned; the others, which a wrist holds, only change their colours.
Places in a picture are real pixels from its top left corner, as in `scaffold.places`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
from PIL import Image

from dm0_ros.errors import Dm0Error
from dm0_ros.training.sources.sample import Sample


@dataclass(frozen=True)
class AugmentationSettings:
    """How much is left to chance. The defaults are DM0's own; its public code has them."""

    area: float = 0.95  # share of the main view that is kept
    rotation: float = 5.0  # degrees, either way
    recoloured: float = 0.5  # share of the pictures
    brightness: float = 0.3  # factors differ from 1 by so much at most
    contrast: float = 0.4
    saturation: float = 0.5
    hue: float = 0.1  # of a turn

    def __post_init__(self) -> None:
        bounds = {"area": 1.0, "rotation": 180.0, "hue": 0.5}
        for key, value in vars(self).items():
            if not 0.0 <= value <= bounds.get(key, 1.0) or (key == "area" and not value):
                message = f"is {value:g}; it must be from 0 to {bounds.get(key, 1.0):g}"
                raise Dm0Error(message, key=(key,))


@dataclass(frozen=True, eq=False)
class AugmentedPicture:
    """A square picture, and where the places of the one that it was made of have gone."""

    picture: np.ndarray  # (size, size, 3) uint8 RGB
    transform: np.ndarray  # (2, 3): a place (u, v) of before is now transform @ (u, v, 1)


def augment_picture(
    picture: np.ndarray,
    size: int,
    main: bool,
    settings: AugmentationSettings,
    generator: np.random.Generator,
) -> AugmentedPicture:
    """A picture (height, width, 3) uint8 RGB, padded black to a square and changed by chance."""
    square, transform = fit_picture(picture, size)
    if main:
        move = _draw_move(size, settings, generator)
        square, transform = _warp(square, move), _chain(move, transform)
    if generator.random() < settings.recoloured:
        square = _recolour(square, settings, generator)
    return AugmentedPicture(square, transform)


def augment_sample(
    sample: Sample,
    size: int,
    main: str | None,
    settings: AugmentationSettings,
    generator: np.random.Generator,
) -> tuple[Sample, Mapping[str, np.ndarray]]:
    """The sample with every picture changed on its own, and the transform of each by slot.

    ``main`` is the slot of the main view; None: no view is moved. An answer that names places is
    left as it is: write it after its places went through `move_places`.
    """
    changed = {
        slot: augment_picture(picture, size, slot == main, settings, generator)
        for slot, picture in sample.pictures.items()
    }
    pictures = {slot: item.picture for slot, item in changed.items()}
    transforms = {slot: item.transform for slot, item in changed.items()}
    return replace(sample, pictures=pictures), transforms


def fit_picture(picture: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture padded black to a square of ``size``, and the transform (2, 3) of its places."""
    height, width = picture.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    bottom, right = side - height - top, side - width - left
    square = cv2.copyMakeBorder(picture, top, bottom, left, right, cv2.BORDER_CONSTANT)
    scale = size / side
    if side != size:  # the filter of policy.pictures: a robot's pictures go through the same
        square = np.array(Image.fromarray(square).resize((size, size), Image.Resampling.BICUBIC))
    return square, np.array([[scale, 0.0, left * scale], [0.0, scale, top * scale]])


def move_places(places: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Places (..., 2) of a picture, as a transform (2, 3) moves them; some may leave it."""
    return np.asarray(places, np.float64) @ transform[:, :2].T + transform[:, 2]


def move_box(box: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """The upright box (u_min, v_min, u_max, v_max) around where a box (4,) is moved to."""
    u_min, v_min, u_max, v_max = box
    corners = [(u_min, v_min), (u_max, v_min), (u_max, v_max), (u_min, v_max)]
    moved = move_places(np.array(corners), transform)
    return np.concatenate([moved.min(axis=0), moved.max(axis=0)])


def _draw_move(
    size: int, settings: AugmentationSettings, generator: np.random.Generator
) -> np.ndarray:
    """A crop that is enlarged to the whole, then a turn about the middle, as (2, 3)."""
    kept = size * math.sqrt(settings.area)
    corner = generator.uniform(0.0, size - kept, 2)
    angle = math.radians(generator.uniform(-settings.rotation, settings.rotation))
    cosine, sine = math.cos(angle), math.sin(angle)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    middle = np.full(2, size / 2)
    linear = turn * (size / kept)
    return np.column_stack([linear, middle - turn @ middle - linear @ corner])


def _chain(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    return np.column_stack([second[:, :2] @ first[:, :2], move_places(first[:, 2], second)])


def _warp(picture: np.ndarray, transform: np.ndarray) -> np.ndarray:
    # OpenCV counts from the middle of the first pixel, half a pixel from the corner.
    shift = transform[:, 2] + transform[:, :2].sum(axis=1) * 0.5 - 0.5
    matrix = np.column_stack([transform[:, :2], shift])
    height, width = picture.shape[:2]
    return cv2.warpAffine(
        picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )


def _recolour(
    picture: np.ndarray, settings: AugmentationSettings, generator: np.random.Generator
) -> np.ndarray:
    """Brightness, contrast, saturation and hue, in an order left to chance."""
    for step in generator.permutation(4):
        change, most = (
            (_brighten, settings.brightness),
            (_contrast, settings.contrast),
            (_saturate, settings.saturation),
            (_turn_hue, settings.hue),
        )[step]
        picture = change(picture, generator.uniform(-most, most))
    return picture


def _brighten(picture: np.ndarray, more: float) -> np.ndarray:
    return cv2.convertScaleAbs(picture, alpha=1.0 + more)


def _contrast(picture: np.ndarray, more: float) -> np.ndarray:
    mean = float(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).mean())
    levels = np.arange(256) * (1.0 + more) - mean * more
    return cv2.LUT(picture, np.clip(np.rint(levels), 0, 255).astype(np.uint8))


def _saturate(picture: np.ndarray, more: float) -> np.ndarray:
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(picture, 1.0 + more, grey, -more, 0.0)


def _turn_hue(picture: np.ndarray, turns: float) -> np.ndarray:
    colours = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV_FULL)
    # a whole turn is 256, where 8 bits wrap by themselves
    colours[..., 0] += np.uint8(round(turns * 256) % 256)
    return cv2.cvtColor(colours, cv2.COLOR_HSV2RGB_FULL)
