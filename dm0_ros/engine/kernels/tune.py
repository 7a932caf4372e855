# SPDX-License-Identifier: Apache-2.0
"""Finds the tiles that are fastest on a GPU, one program after another, by timing whole layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace

import torch

from dm0_ros.engine.flow import Suffix, SuffixLayer
from dm0_ros.engine.kernels.expert import ExpertLayerKernels, LaunchError
from dm0_ros.engine.kernels.tiles import Grids, LayerShape, Tile, Tiles
from dm0_ros.engine.weights import LayerWeights

PROGRAMS = ("heads", "attention", "out", "gate", "down")
ROUNDS = 20
SMALLEST = {"rows": 16, "columns": 16, "depth": 16, "warps": 2}
LARGEST = {"rows": 128, "columns": 128, "depth": 256, "splits": 8, "warps": 8, "stages": 8}

Measure = Callable[[Callable[[], None]], float]
"""Runs what it is given, often enough, and gives the seconds of one run."""


@dataclass(frozen=True)
class Tuning:
    """The fastest tiles, the seconds that one layer takes with them, and all that was tried."""

    tiles: Tiles
    seconds: float
    trials: tuple[tuple[Tiles, float], ...]


def time_graph(run: Callable[[], None]) -> float:
    """Median seconds of replays of a captured CUDA graph. `Measure`."""
    run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    graph.replay()
    times = []
    for _ in range(ROUNDS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1000)
    return sorted(times)[ROUNDS // 2]


def tune(
    layers: Sequence[LayerWeights],
    batch: int,
    count: int,
    begin: int,
    measure: Measure = time_graph,
) -> Tuning:
    """Tries tiles on suffixes of `count` tokens behind `begin` rows, for so many observations.

    `layers` run one after another, as they do in the network. Give as many as the network has,
    or at least more than fit into the L2 cache: else their weights would come from there.
    """
    trial = Trial(layers, batch, count, begin, measure)
    best = ExpertLayerKernels(layers[0], batch, count).tiles
    seconds = trial(best)
    for name in PROGRAMS:
        for tile in candidates(trial.shape, best, name):
            tiles = replace(best, **{name: tile})
            taken = trial(tiles)
            if taken < seconds:
                best, seconds = tiles, taken
    if layers[0].qkv.weight.is_cuda and torch.cuda.get_device_capability() >= (9, 0):
        early = replace(best, early=True)
        taken = trial(early)
        if taken < seconds:
            best, seconds = early, taken
    return Tuning(best, seconds, tuple(trial.done))


def candidates(shape: LayerShape, tiles: Tiles, name: str) -> Iterator[Tile]:
    """The tiles that differ from a program's present one in one field, by a factor of two."""
    present: Tile = getattr(tiles, name)
    for field in fields(present):
        size = getattr(present, field.name)
        for other in (size // 2, size * 2):
            tile = replace(present, **{field.name: other})
            if SMALLEST.get(field.name, 1) <= other <= LARGEST[field.name]:
                with suppress(ValueError):  # it does not divide the work
                    Grids.of(shape, replace(tiles, **{name: tile}))
                    yield tile


class Trial:
    """Times layers on inputs that stay the same. Its `done` keeps every tiling with its time."""

    def __init__(
        self,
        layers: Sequence[LayerWeights],
        batch: int,
        count: int,
        begin: int,
        measure: Measure,
    ) -> None:
        self.layers, self.measure = layers, measure
        self.shape = shape = LayerShape.of(layers[0], batch, count)
        self.done: list[tuple[Tiles, float]] = []
        device = layers[0].qkv.weight.device
        size = (len(layers), batch, shape.shared, begin + count, shape.width)
        # random, for a GPU is faster with zeros
        self.keys, self.values = (
            torch.randn(size, device=device).to(shape.dtype) for _ in range(2)
        )
        self.x = torch.randn(batch, count, shape.hidden, device=device)
        angles = torch.rand(batch, 1, count, shape.width, device=device)
        rope = angles.cos().to(shape.dtype), angles.sin().to(shape.dtype)
        lengths = torch.full((batch,), begin, dtype=torch.int32, device=device)
        self.suffix = Suffix(begin, lengths, rope, None)

    def __call__(self, tiles: Tiles) -> float:
        """Seconds per layer with the kernels; infinite for tiles that need too much of the GPU."""
        layer = ExpertLayerKernels(self.layers[0], self.shape.batch, self.shape.count, tiles)
        try:
            seconds = self.time(layer)
        except LaunchError:
            seconds = float("inf")
        self.done.append((tiles, seconds))
        return seconds

    def time(self, layer: SuffixLayer) -> float:
        """Seconds per layer."""
        x = self.x.clone()

        def run() -> None:
            out = x.copy_(self.x)
            for index, weights in enumerate(self.layers):
                out = layer(out, weights, self.keys[index], self.values[index], self.suffix)

        return self.measure(run) / len(self.layers)
