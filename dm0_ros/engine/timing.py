# SPDX-License-Identifier: Apache-2.0
"""Wall time of the stages of one call, on the clock of the device that ran them."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Timing:
    """Of one call, in ms."""

    upload: float
    vision: float
    prefix: float
    reasoning: float
    flow: float
    download: float

    @property
    def total(self) -> float:
        """Sum of the stages."""
        return self.upload + self.vision + self.prefix + self.reasoning + self.flow + self.download


class Stopwatch:
    """Marks moments without making the host wait for the device; `read` waits."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._moments: list = []

    def mark(self) -> None:
        """The end of one stage and the begin of the next."""
        if not self._on_gpu:
            self._moments.append(time.perf_counter())
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self._moments.append(event)

    def read(self) -> list[float]:
        """ms between the marks, in order."""
        pairs = list(zip(self._moments[:-1], self._moments[1:], strict=True))
        if not self._on_gpu:
            return [1e3 * (later - earlier) for earlier, later in pairs]
        self._moments[-1].synchronize()
        return [earlier.elapsed_time(later) for earlier, later in pairs]
