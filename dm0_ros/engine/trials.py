# SPDX-License-Identifier: Apache-2.0
"""Times several ways to do one thing, so that the fastest can be taken."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

ROUNDS = 7
BUDGET = 0.5
"""Seconds after which no further round begins."""
HOPELESS = 2.0
"""What takes this many times longer than the fastest in its first round gets no second one."""
BLOCK = 2e-3
"""Seconds of calls timed together on a CPU."""
CAPTURED = 10
"""Calls timed together on a GPU."""


def time_fairly(
    actions: Mapping[str, Callable[[], object]], device: torch.device
) -> tuple[dict[str, float], dict[str, str]]:
    """Milliseconds of one call of each action, and why some could not be timed.

    The actions take turns, so that a busy moment hits them alike; the median counts. On a GPU a
    CUDA graph of the calls is replayed, as launching them one by one would time the host.
    """
    blocks: dict[str, Callable[[], float]] = {}
    failed: dict[str, str] = {}
    for name, action in actions.items():
        if device.type != "cuda":
            blocks[name] = _time_on_host(action)
            continue
        try:
            blocks[name] = _time_on_gpu(action, device)
        except RuntimeError as error:
            failed[name] = f"cannot be captured in a CUDA graph: {first_line(error)}"
    times: dict[str, list[float]] = {name: [] for name in blocks}
    deadline = time.perf_counter() + BUDGET
    for _ in range(ROUNDS):
        for name, block in blocks.items():
            times[name].append(block())
        fastest = min((min(own) for own in times.values()), default=0.0)
        blocks = {n: b for n, b in blocks.items() if min(times[n]) < HOPELESS * fastest}
        if time.perf_counter() > deadline:
            break
    return {name: statistics.median(own) for name, own in times.items()}, failed


def first_line(error: Exception) -> str:
    """What an error says, without the trace that libraries append."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _time_on_host(action: Callable[[], object]) -> Callable[[], float]:
    def measure(calls: int) -> float:
        begin = time.perf_counter()
        for _ in range(calls):
            action()
        return (time.perf_counter() - begin) / calls

    calls = max(1, int(BLOCK / measure(1)))
    return lambda: 1e3 * measure(calls)


def _time_on_gpu(action: Callable[[], object], device: torch.device) -> Callable[[], float]:
    with torch.cuda.device(device):
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(CAPTURED):
                action()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def measure() -> float:
        with torch.cuda.device(device):
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
        return begin.elapsed_time(end) / CAPTURED

    measure()  # uploads the graph
    return measure
