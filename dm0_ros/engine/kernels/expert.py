# SPDX-License-Identifier: Apache-2.0
"""One layer of the action expert in five launches. Importing this needs Triton."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from triton.errors import TritonError

from dm0_ros.engine.flow import Suffix
from dm0_ros.engine.kernels.attention import attend
from dm0_ros.engine.kernels.programs import project_gate, project_heads, project_residual
from dm0_ros.engine.kernels.tiles import Grid, Grids, LayerShape, Tile, Tiles, choose_tiles
from dm0_ros.engine.weights import LayerWeights

HOPPER_LIMITS = 132, 227 * 1024


def device_limits(device: torch.device) -> tuple[int, int]:
    """Multiprocessors of a GPU and bytes of shared memory per program; an H200's for a CPU."""
    if device.type != "cuda":
        return HOPPER_LIMITS
    found = torch.cuda.get_device_properties(device)
    return found.multi_processor_count, found.shared_memory_per_block_optin


class LaunchError(RuntimeError):
    """Triton could not compile a program for this GPU, or the GPU has too little for it."""


class ExpertLayerKernels:
    """A `SuffixLayer` for one batch size and suffix length, on the device of the weights.

    All scratch memory is allocated here, so a call can be captured in a graph. Layers may share
    one object, as they run one after another; two streams may not.
    """

    def __init__(
        self, weights: LayerWeights, batch: int, count: int, tiles: Tiles | None = None
    ) -> None:
        """`weights` of any of the layers; ValueError, with the reason, if they do not suit."""
        self.shape = shape = LayerShape.of(weights, batch, count)
        device = weights.qkv.weight.device
        self.tiles = tiles or choose_tiles(shape, *device_limits(device))
        self.grids = Grids.of(shape, self.tiles)
        tokens, wide = shape.tokens, shape.heads * shape.width
        self._query = torch.empty(tokens * wide, dtype=shape.dtype, device=device)
        self._mixed = torch.empty_like(self._query)
        self._hidden = torch.empty(tokens * shape.inner, dtype=shape.dtype, device=device)
        scratch = max(1, *(grid.scratch for grid in self.grids.all()))
        self._scratch = torch.empty(scratch, device=device)
        # Every launch leaves them at 0.
        most = max(grid.tiles for grid in self.grids.all())
        self._counters = torch.zeros(most, dtype=torch.int32, device=device)

    def __call__(
        self, x: Tensor, weights: LayerWeights, keys: Tensor, values: Tensor, suffix: Suffix
    ) -> Tensor:
        """x (B, L, hidden) float32 is changed in place and returned.

        Writes the suffix into keys, values (B, kv heads, C, d) from row `suffix.begin` on. The
        mask is not read: `suffix.lengths` says the same.
        """
        self._check(x, keys, values, suffix)
        self._project_heads(x, weights, keys, values, suffix)
        self._attend(keys, values, suffix)
        self._project_residual(x, self._mixed, weights.out.weight, self.grids.out)
        self._project_gate(x, weights)
        self._project_residual(x, self._hidden, weights.down.weight, self.grids.down)
        return x

    def _check(self, x: Tensor, keys: Tensor, values: Tensor, suffix: Suffix) -> None:
        shape = self.shape
        if x.shape != (shape.batch, shape.count, shape.hidden) or not x.is_contiguous():
            raise ValueError(f"x {tuple(x.shape)} is not what the kernels were made for: {shape}")
        if x.dtype != torch.float32:
            raise ValueError(f"x is {x.dtype}; the residual stream has to be float32")
        rows = suffix.begin + shape.count
        for part in (keys, values):
            fits = part.shape[:2] == (shape.batch, shape.shared) and part.shape[2] >= rows
            dense = part.stride()[2:] == (shape.width, 1) and part.stride() == keys.stride()
            if not (fits and dense and part.dtype == shape.dtype):
                raise ValueError(
                    f"a cache {tuple(part.shape)} of {part.dtype} does not suit {shape} "
                    f"with {rows} rows"
                )
        for part in suffix.rope:
            if part.numel() != shape.tokens * shape.width or not part.is_contiguous():
                raise ValueError(f"a rotary table {tuple(part.shape)} does not suit {shape}")
        lengths = suffix.lengths
        if lengths.shape != (shape.batch,) or not lengths.is_contiguous():
            raise ValueError(f"lengths {tuple(lengths.shape)} are not one for each of {shape}")

    def _launch(self, program: Any, grid: Grid, *arguments: Any, **constants: Any) -> None:
        try:
            program[grid.axes](*arguments, **constants, **self._options(grid.tile))
        except TritonError as error:
            raise LaunchError(f"{program.__name__} with {grid.tile}: {error}") from error

    def _options(self, tile: Tile) -> dict[str, Any]:
        """Constants and launch options that all programs have."""
        early = self.tiles.early
        options = {"num_warps": tile.warps, "num_stages": tile.stages}
        if early:
            options["launch_pdl"] = True
        return {"ROWS": tile.rows, "SPLITS": tile.splits, "EARLY": early, **options}

    def _keep(self, grid: Grid) -> str:
        """Weights that a single program reads need no place in the L2 cache."""
        return "evict_first" if grid.rows <= grid.tile.rows else "evict_last"

    def _project_heads(
        self, x: Tensor, weights: LayerWeights, keys: Tensor, values: Tensor, suffix: Suffix
    ) -> None:
        shape, grid = self.shape, self.grids.heads
        self._launch(
            project_heads, grid,
            x, weights.qkv.weight, weights.query_norm, weights.key_norm, *suffix.rope,
            self._query, keys, values, self._scratch, self._counters,
            shape.tokens, suffix.begin, shape.count, *keys.stride()[:2], weights.eps,
            K=shape.hidden, HEADS=shape.heads, SHARED=shape.shared, HALF=shape.width // 2,
            DEPTH=grid.tile.depth, KEEP=self._keep(grid),
        )  # fmt: skip

    def _attend(self, keys: Tensor, values: Tensor, suffix: Suffix) -> None:
        shape, grid = self.shape, self.grids.attention
        self._launch(
            attend, grid,
            self._query, keys, values, suffix.lengths, self._mixed, self._scratch, self._counters,
            suffix.begin, shape.count, *keys.stride()[:2], math.log2(math.e) / shape.width**0.5,
            SHARED=shape.shared, GROUP=shape.group, WIDTH=shape.width, KEYS=grid.tile.columns,
        )  # fmt: skip

    def _project_gate(self, x: Tensor, weights: LayerWeights) -> None:
        shape, grid = self.shape, self.grids.gate
        self._launch(
            project_gate, grid,
            x, weights.gate_up.weight, self._hidden, self._scratch, self._counters,
            shape.tokens, weights.eps,
            K=shape.hidden, INNER=shape.inner, COLUMNS=grid.tile.columns,
            DEPTH=grid.tile.depth, KEEP=self._keep(grid),
        )  # fmt: skip

    def _project_residual(self, x: Tensor, part: Tensor, weight: Tensor, grid: Grid) -> None:
        self._launch(
            project_residual, grid,
            part, weight, x, self._scratch, self._counters, self.shape.tokens,
            K=weight.shape[1], N=self.shape.hidden, COLUMNS=grid.tile.columns,
            DEPTH=grid.tile.depth, KEEP=self._keep(grid),
        )  # fmt: skip
