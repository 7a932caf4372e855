# SPDX-License-Identifier: Apache-2.0
"""Compiles a layer's programs for a GPU that need not be there, and looks into the machine code.

What comes out is what a real launch of the same shapes would run, for the arguments go through
Triton's own launcher; only the launch itself is left out.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from dm0_ros.engine.flow import Suffix
from dm0_ros.engine.kernels.expert import ExpertLayerKernels
from dm0_ros.engine.kernels.tiles import Grid, LayerShape, Tiles
from dm0_ros.engine.linear import Dense
from dm0_ros.engine.weights import LayerWeights

BINARIES = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
"""Where Triton's wheel has cuobjdump and nvdisasm."""


@dataclass(frozen=True)
class Program:
    """One compiled program.

    Attributes:
        registers: per thread. stack: bytes per thread; more than 0 means spilled registers.
        shared: bytes of shared memory. tensor: matrix instructions in the code, by name.
    """

    name: str
    grid: Grid
    registers: int
    stack: int
    shared: int
    tensor: dict[str, int]
    ptx: str


class _NoGPU:
    """Stands where Triton expects the driver of a GPU."""

    def __init__(self, capability: int) -> None:
        self._target = GPUTarget("cuda", capability, 32)

    def get_current_device(self) -> int:
        """No real device's number: programs are cached under it."""
        return -self._target.arch

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return self._target


class _Compiled(ExpertLayerKernels):
    """Compiles where the base class launches."""

    def __call__(self, *arguments: Any) -> list[Program]:
        self.programs: list[Program] = []
        super().__call__(*arguments)
        return self.programs

    def _launch(self, program: Any, grid: Grid, *arguments: Any, **constants: Any) -> None:
        options = self._options(grid.tile)
        kernel = program.warmup(*arguments, grid=grid.axes, **constants, **options)
        self.programs.append(_inspect(program.__name__, grid, kernel))


def _inspect(name: str, grid: Grid, kernel: Any) -> Program:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage = _read(BINARIES / "cuobjdump", "-res-usage", file.name)
        code = _read(BINARIES / "nvdisasm", file.name)
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", usage).groups()
    kinds = ("HGMMA", "HMMA")
    found = {kind: len(re.findall(rf"\b{kind}\b", code)) for kind in kinds}
    return Program(
        name=name,
        grid=grid,
        registers=int(registers),
        stack=int(stack),
        shared=kernel.metadata.shared,
        tensor={kind: count for kind, count in found.items() if count},
        ptx=kernel.asm["ptx"],
    )


def _read(*command: Any) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def compile_ahead(
    shape: LayerShape, tiles: Tiles | None = None, capability: int = 90
) -> list[Program]:
    """The five programs of a layer, compiled for a compute capability (90 is 9.0: H100, H200)."""
    weights = _weights(shape)
    cache = _empty(shape, shape.batch, shape.shared, 768 + shape.count, shape.width)
    table = _empty(shape, shape.batch, 1, shape.count, shape.width)
    x = torch.empty(shape.batch, shape.count, shape.hidden, device="meta")
    lengths = torch.empty(shape.batch, dtype=torch.int32, device="meta")
    # `driver.active` would look for a GPU
    before = driver._active
    driver.set_active(_NoGPU(capability))
    try:
        layer = _Compiled(weights, shape.batch, shape.count, tiles)
        return layer(x, weights, cache, cache, Suffix(768, lengths, (table, table), None))
    finally:
        driver.set_active(before)


def _empty(shape: LayerShape, *size: int) -> torch.Tensor:
    return torch.empty(size, dtype=shape.dtype, device="meta")


def _weights(shape: LayerShape) -> LayerWeights:
    wide = shape.heads * shape.width

    def dense(rows: int, columns: int) -> Dense:
        return Dense(_empty(shape, rows, columns))

    return LayerWeights(
        qkv=dense(wide + 2 * shape.shared * shape.width, shape.hidden),
        query_norm=_empty(shape, shape.width),
        key_norm=_empty(shape, shape.width),
        out=dense(shape.hidden, wide),
        gate_up=dense(2 * shape.inner, shape.hidden),
        down=dense(shape.hidden, shape.inner),
        heads=shape.heads,
        eps=1e-6,
    )
