# SPDX-License-Identifier: Apache-2.0
"""Functions on fixed buffers, captured once as CUDA graphs and replayed with one launch."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol

import torch

Action = Callable[[], None]
"""Reads and writes buffers that stay where they are; allocates nothing that outlives it."""

WARM_UPS = 3
"""Runs before a capture: libraries choose algorithms and compilers compile in the first ones."""


class Capture(Protocol):
    """Turns an action into one that does the same with less work by the host."""

    def __call__(self, action: Action) -> Action:
        """The action to run from now on."""


def run_directly(action: Action) -> Action:
    """The capture of devices without graphs: none."""
    return action


class CudaCapture:
    """Captures into graphs that share one memory pool, so the next may reuse what one dropped."""

    def __init__(self, device: torch.device, priority: int = 0) -> None:
        """``priority`` of the kernels among those of other streams; the lower comes first."""
        self._device = device
        self._priority = priority
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, action: Action) -> Action:
        with torch.cuda.device(self._device):
            aside = torch.cuda.Stream(priority=self._priority)
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(WARM_UPS):
                    action()
            torch.cuda.current_stream().wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, stream=aside):
                action()
        return graph.replay


class Graphs:
    """Actions by key: each is captured when it is first run, and replayed from then on."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self._ready: dict[Hashable, Action] = {}

    def __len__(self) -> int:
        return len(self._ready)

    def run(self, key: Hashable, make: Callable[[], Action]) -> None:
        """Run the action of `key`; `make` makes it when the key is new."""
        ready = self._ready.get(key)
        if ready is None:
            ready = self._ready[key] = self.capture(make())
        ready()
