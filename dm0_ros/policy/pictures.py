# SPDX-License-Identifier: Apache-2.0
"""Pictures as DM0 wants them: square, resized, scaled; one slot per camera.

The numbers follow the SigLIP preprocessing that DM0's published checkpoints were trained with:
bicubic with antialiasing on 8-bit pixels, then (x / 255 - 0.5) / 0.5.
"""

from collections.abc import Mapping, Sequence
from enum import Enum

import numpy as np
from PIL import Image

from dm0_ros.errors import ObservationError


class PadColour(str, Enum):
    """What fills a picture up to a square: the reference pads grey to infer, black to train."""

    GREY = "grey"
    BLACK = "black"


class PixelScale(str, Enum):
    """Which mean and deviation pixels are scaled with, per channel."""

    HALF = "half"
    CLIP = "clip"


PAD_LEVELS = {PadColour.GREY: 127, PadColour.BLACK: 0}
MEAN_AND_DEVIATION = {
    PixelScale.HALF: ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    # Published with CLIP (Radford et al., 2021); some DM0 ports use them.
    PixelScale.CLIP: (
        (0.48145466, 0.4578275, 0.40821073),
        (0.26862954, 0.26130258, 0.27577711),
    ),
}


def check_pictures(pictures: Mapping[str, np.ndarray], slots: Sequence[str]) -> None:
    """Raise `ObservationError` unless every slot has a picture (height, width, 3) uint8."""
    for slot in slots:
        if slot not in pictures:
            raise ObservationError(
                f"no picture for camera slot '{slot}'; "
                f"got {', '.join(pictures) or 'none'}: check that this camera publishes"
            )
        _check_picture(pictures[slot], slot)


def prepare_picture(
    picture: np.ndarray,
    size: int,
    pad: PadColour = PadColour.GREY,
    scale: PixelScale = PixelScale.HALF,
) -> np.ndarray:
    """One picture (height, width, 3) uint8 RGB as (3, size, size) float32, [-1, 1] with HALF.

    `engine.FramePreparer` makes the same of many on any device.

    A picture that is not square is padded evenly on both sides first, so nothing is cut off.
    """
    image = Image.fromarray(_pad_to_square(picture, PAD_LEVELS[pad]))
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    pixels = np.asarray(image, dtype=np.float32) / np.float32(255.0)
    mean, deviation = (np.array(row, np.float32) for row in MEAN_AND_DEVIATION[scale])
    return np.ascontiguousarray(((pixels - mean) / deviation).transpose(2, 0, 1))


def _check_picture(picture: object, slot: str) -> None:
    if not isinstance(picture, np.ndarray):
        raise ObservationError(
            f"picture '{slot}': expected an array, found {type(picture).__name__}"
        )
    if np.issubdtype(picture.dtype, np.floating) and not np.isfinite(picture).all():
        raise ObservationError(
            f"picture '{slot}': holds NaN or infinite pixels; send 8-bit RGB, and check the driver"
        )
    if picture.dtype != np.uint8:
        raise ObservationError(
            f"picture '{slot}': pixels are {picture.dtype}; convert them to 8-bit RGB (uint8)"
        )
    if picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise ObservationError(
            f"picture '{slot}': has shape {picture.shape}; expected (height, width, 3), RGB"
        )


def _pad_to_square(picture: np.ndarray, value: int) -> np.ndarray:
    height, width = picture.shape[:2]
    side = max(height, width)
    if height == width:
        return np.ascontiguousarray(picture)
    square = np.full((side, side, 3), value, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = picture
    return square
