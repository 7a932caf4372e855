# SPDX-License-Identifier: Apache-2.0
"""What this GPU can do, measured before anything else: the constants that the floors assume."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F

REPEATS = 15


def measure_ceilings(device: torch.device) -> dict[str, float]:
    """Bandwidth of a copy, rates of matrix products, and the cost of a kernel in a graph.

    The products are a large one and those of the vision tower at three views (8115 x 1024 and
    4096), in bf16, on random data, over several sets so that no cache is measured. A few seconds.
    """
    size = 1 << 30
    source = torch.randint(0, 255, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = _time(partial(target.copy_, source), 2)
    found = {"copy_TB_per_s": 2 * size / copy / 1e9}
    del source, target
    for name, shape, sets in (
        ("matmul_8192", (8192, 8192, 8192), 1),
        ("vision_qkv", (8115, 3072, 1024), 6),
        ("vision_up", (8115, 4096, 1024), 6),
        ("vision_down", (8115, 1024, 4096), 6),
        ("prefix_gate_up", (607, 12288, 2048), 6),
    ):
        found[f"{name}_TFLOP_per_s"] = _rate(device, *shape, sets)
    tiny = torch.ones(1024, device=device)

    def chain() -> None:
        for _ in range(500):
            tiny.mul_(1.0)

    found["kernel_in_graph_us"] = 1e3 * _time(chain, 1) / 500
    return {name: round(value, 3) for name, value in found.items()}


def _rate(device: torch.device, rows: int, out: int, inner: int, sets: int) -> float:
    """TFLOP/s of x (rows, inner) times w (out, inner), bf16."""
    random = {"device": device, "dtype": torch.bfloat16}
    pairs = [
        (torch.randn(rows, inner, **random), torch.randn(out, inner, **random))
        for _ in range(sets)
    ]

    def multiply() -> None:
        for x, w in pairs:
            F.linear(x, w)

    return 2 * rows * out * inner * sets / _time(multiply, 2) / 1e9


def _time(action: Callable[[], object], inner: int) -> float:
    """Median ms of one `action`, replayed from a graph of `inner` of them."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            action()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(inner):
            action()
    for _ in range(3):
        graph.replay()
    times = []
    for _ in range(REPEATS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / inner)
    return statistics.median(times)
