# SPDX-License-Identifier: Apache-2.0
"""What one call launches: kernels on a GPU, counted and ranked; dispatched operations on a CPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

RANKED = 25
"""Kernels that are listed by name, the longest first."""
NAME_LENGTH = 120


def profile_call(call: Callable[[], object], device: torch.device) -> dict:
    """Counts of one call that was warmed up.

    On a GPU: `kernels`, `copies` (and sets) of memory, `busy_ms` (sum of both on the device), and
    `ranked`, the kernels that took longest. On a CPU: `dispatched`, operations that torch's
    dispatcher was asked for, views and allocations included.
    """
    if device.type == "cuda":
        return _profile_gpu(call)
    counter = _Counter()
    with counter:
        call()
    return {"dispatched": counter.count}


class _Counter(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def _profile_gpu(call: Callable[[], object]) -> dict:
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        call()
        torch.cuda.synchronize()
    rows = [row for row in recorded.key_averages() if row.device_type == DeviceType.CUDA]
    moves = [row for row in rows if row.key.startswith(("Memcpy", "Memset"))]
    kernels = [row for row in rows if row not in moves and row.self_device_time_total > 0]
    kernels.sort(key=lambda row: -row.self_device_time_total)
    return {
        "kernels": sum(row.count for row in kernels),
        "copies": sum(row.count for row in moves),
        "busy_ms": round(sum(row.self_device_time_total for row in (*kernels, *moves)) / 1e3, 3),
        "ranked": [
            {
                "kernel": row.key[:NAME_LENGTH],
                "count": row.count,
                "ms": round(row.self_device_time_total / 1e3, 4),
            }
            for row in kernels[:RANKED]
        ],
    }
