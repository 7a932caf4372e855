# SPDX-License-Identifier: Apache-2.0
"""Camera frames, 8-bit, to the pixels that the network sees, on whichever device they lie.

The same as padding to a square, Pillow's bicubic resize and scaling, to the last bit. Pillow
computes in integers: weights with 22 fractional bits, a rounding to 8 bit after the horizontal
pass and another after the vertical one. So does the path for GPUs, and nothing that a user sets
about the precision of matrix products can change its result. A weight belongs to few pixels: four
for an enlargement, about four times the scale for a reduction. Gathering those is less work than a
product with a matrix that is nearly all zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dm0_ros.errors import ObservationError

FRACTION_BITS = 22
"""Of Pillow's weights: 32, less 8 for a pixel and 2 for sums beyond one."""
SUPPORT = 2.0
"""Pixels on either side that the cubic reaches."""
SHARPNESS = -0.5
"""Parameter a of the cubic convolution (Keys, 1981), as Pillow has it."""


@dataclass(frozen=True)
class Pass:
    """One direction of a resize: output i is the sum of `weights[:, i]` times `taken` pixels.

    Attributes:
        taken: int32 (T * size,), source pixels, the first of every output, then the second, ...
        weights: int32 (T, size, 1). offset: int32 (size, 1): what padding adds, and one half.
    """

    taken: Tensor
    weights: Tensor
    offset: Tensor


class FramePreparer:
    """Makes uint8 (N, h, w, 3) frames into float32 (N, 3, size, size).

    A level x becomes (x / 255 - mean) / deviation, with a mean and a deviation per channel.
    Frames that are not square are padded evenly with `pad_value` first. On a GPU the tables of a
    size (h, w) are uploaded at its first call, so one must precede a capture or compilation; later
    calls neither wait for the device nor depend on the frames' content.
    """

    def __init__(
        self, size: int, pad_value: int, mean: Sequence[float], deviation: Sequence[float]
    ) -> None:
        self._size = size
        self._pad_value = pad_value
        levels = np.arange(256, dtype=np.float32) / np.float32(255.0)
        center, spread = (np.array(row, np.float32)[:, None] for row in (mean, deviation))
        self._scaled = (levels - center) / spread
        self._tables: dict[torch.device, tuple[Tensor, Tensor]] = {}
        self._passes: dict[tuple[int, int, torch.device], tuple[Pass, Pass]] = {}

    def __call__(self, frames: Tensor) -> Tensor:
        """Raises `ObservationError` unless frames are uint8 (N, h, w, 3)."""
        if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
            raise ObservationError(
                f"frames are {frames.dtype} of shape {tuple(frames.shape)}; "
                "they must be uint8 (N, height, width, 3), RGB"
            )
        return self._by_pillow(frames) if frames.device.type == "cpu" else self.gather(frames)

    def gather(self, frames: Tensor) -> Tensor:
        """By tensor operations of fixed shapes alone, on any device."""
        height, width = frames.shape[1:3]
        columns, rows = self._find_passes(height, width, frames.device)
        table, channels = self._find_table(frames.device)
        picked = frames.index_select(2, columns.taken)
        picked = picked.unflatten(2, columns.weights.shape[:2])
        wide = _sum_up(picked, columns.weights, columns.offset, 2).to(torch.uint8)
        picked = wide.index_select(1, rows.taken).unflatten(1, rows.weights.shape[:2])
        levels = _sum_up(picked, rows.weights[..., None], rows.offset[..., None], 1)
        places = (levels + channels).permute(0, 3, 1, 2)
        return table.index_select(0, places.flatten()).view(places.shape)

    def _by_pillow(self, frames: Tensor) -> Tensor:
        size = self._size
        out = np.empty((len(frames), 3, size, size), np.float32)
        for frame, pixels in zip(frames.numpy(), out, strict=True):
            image = Image.fromarray(_pad_to_square(frame, self._pad_value))
            if image.size != (size, size):
                image = image.resize((size, size), Image.Resampling.BICUBIC)
            levels = np.asarray(image)
            for channel, scaled in enumerate(self._scaled):
                np.take(scaled, levels[:, :, channel], out=pixels[channel], mode="clip")
        return torch.from_numpy(out)

    def _find_table(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Values (3 * 256,) of all levels of all channels, and where a channel's begin, (3,)."""
        if device not in self._tables:
            values = torch.from_numpy(self._scaled.ravel()).to(device)
            begins = torch.arange(0, 3 * 256, 256, dtype=torch.int32, device=device)
            self._tables[device] = values, begins
        return self._tables[device]

    def _find_passes(self, height: int, width: int, device: torch.device) -> tuple[Pass, Pass]:
        key = (height, width, device)
        if key not in self._passes:
            side = max(height, width)
            weights = compute_weights(side, self._size)
            self._passes[key] = tuple(
                _build_pass(weights, (side - count) // 2, count, self._pad_value, device)
                for count in (width, height)
            )
        return self._passes[key]


def compute_weights(source: int, target: int) -> np.ndarray:
    """Pillow's weights of `source` pixels for each of `target`: int64 (target, source).

    The cubic is stretched by the scale when it reduces, cut off at the borders and normalised.
    """
    scale = source / target
    stretch = max(scale, 1.0)
    centers = (np.arange(target)[:, None] + 0.5) * scale
    # Truncated as C does; what is below zero is cut off anyway.
    first = (centers - SUPPORT * stretch + 0.5).astype(np.int64)
    behind = (centers + SUPPORT * stretch + 0.5).astype(np.int64)
    pixels = np.arange(source)
    inside = (pixels >= first) & (pixels < behind)
    weights = np.where(inside, _cubic((pixels - centers + 0.5) * (1.0 / stretch)), 0.0)
    weights /= weights.sum(1, keepdims=True)
    fixed = weights * (1 << FRACTION_BITS)
    return np.trunc(fixed + np.copysign(0.5, fixed)).astype(np.int64)


def _cubic(x: np.ndarray) -> np.ndarray:
    x, a = np.abs(x), SHARPNESS
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _build_pass(
    weights: np.ndarray, begin: int, count: int, pad_value: int, device: torch.device
) -> Pass:
    """The pass over the `count` pixels from `begin` of a line that is otherwise padding.

    Padded lines need no pass of their own: resizing a constant gives that constant, since the
    weights of an output sum up to one within their rounding.
    """
    inner = weights[:, begin : begin + count]
    padding = weights.sum(1) - inner.sum(1)
    used = inner != 0
    taps = max(int(used.sum(1).max()), 1)
    # Stable: the used ones come first, in their order; what follows them weighs nothing.
    taken = np.argsort(~used, axis=1, kind="stable")[:, :taps]
    chosen = np.take_along_axis(inner, taken, 1)
    offset = pad_value * padding + (1 << (FRACTION_BITS - 1))

    def upload(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, np.int32)).to(device)

    return Pass(upload(taken.T.ravel()), upload(chosen.T[..., None]), upload(offset[:, None]))


def _sum_up(picked: Tensor, weights: Tensor, offset: Tensor, taps: int) -> Tensor:
    """Levels 0 .. 255, int32, of weighted pixels, summed along the axis `taps`."""
    total = (picked * weights).sum(taps, dtype=torch.int32) + offset
    return (total >> FRACTION_BITS).clamp(0, 255)


def _pad_to_square(frame: np.ndarray, value: int) -> np.ndarray:
    height, width = frame.shape[:2]
    side = max(height, width)
    if height == width:
        return frame
    square = np.full((side, side, 3), value, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = frame
    return square
