# SPDX-License-Identifier: Apache-2.0
"""Camera frames from the host to fixed buffers on the device, but for those seen before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Sizes = tuple[tuple[int, int], ...]
"""(height, width) of each frame."""


@dataclass(frozen=True)
class Run:
    """Neighbouring frames of one size: numbers `begin` .. `end`, and where they are kept."""

    begin: int
    end: int
    host: Tensor  # uint8 (end - begin, h, w, 3), pinned where the device is a GPU
    device: Tensor  # the same there; on a CPU it is `host`


class FrameIntake:
    """Takes the frames of one call after another.

    The frames of the last call stay here to be compared with: a frame that is equal, byte by byte,
    need not be sent or encoded again, as long as all frames before it are equal too.
    """

    def __init__(self, device: torch.device, reuse: bool) -> None:
        self._device = device
        self._reuse = reuse
        self._runs: dict[Sizes, tuple[Run, ...]] = {}
        self._last: Sizes | None = None

    def take(self, frames: Sequence[np.ndarray]) -> tuple[Sizes, int]:
        """Brings uint8 (h, w, 3) frames over; says their sizes, and how many need not be read.

        The first frames that equal those of the call before are the ones that need not.
        """
        sizes = tuple(frame.shape[:2] for frame in frames)
        if sizes not in self._runs:
            self._runs[sizes] = self._allocate(sizes)
        same_sizes, self._last = self._last == sizes, sizes
        kept = 0
        for run in self._runs[sizes]:
            for number in range(run.begin, run.end):
                held = run.host[number - run.begin].numpy()
                may_keep = self._reuse and same_sizes and kept == number
                if may_keep and np.array_equal(held, frames[number]):
                    kept = number + 1
                else:
                    np.copyto(held, frames[number])
            if kept < run.end and run.device is not run.host:
                part = slice(max(kept - run.begin, 0), None)
                run.device[part].copy_(run.host[part], non_blocking=True)
        return sizes, kept

    def forget(self) -> None:
        """Nothing of the next call counts as unchanged."""
        self._last = None

    def fresh(self, sizes: Sizes, kept: int) -> list[Tensor]:
        """Buffers on the device of all frames but the first `kept`: uint8 (n, h, w, 3) each."""
        return [
            run.device[max(kept - run.begin, 0) :] for run in self._runs[sizes] if kept < run.end
        ]

    def _allocate(self, sizes: Sizes) -> tuple[Run, ...]:
        runs, begin = [], 0
        for number in range(1, len(sizes) + 1):
            if number < len(sizes) and sizes[number] == sizes[begin]:
                continue
            shape = (number - begin, *sizes[begin], 3)
            pinned = self._device.type == "cuda"
            host = torch.zeros(shape, dtype=torch.uint8, pin_memory=pinned)
            device = torch.zeros_like(host, device=self._device) if pinned else host
            runs.append(Run(begin, number, host, device))
            begin = number
        return tuple(runs)
