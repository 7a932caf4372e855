# SPDX-License-Identifier: Apache-2.0
"""How the work of a layer is cut up for a GPU: a small table, chosen by shape. Needs no Triton."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dm0_ros.engine.linear import Dense
from dm0_ros.engine.weights import LayerWeights

SMALLEST_SIDE = 16  # of a tile, for the tensor cores
SHARED_RESERVE = 16 * 1024  # bytes of shared memory left to the compiler


@dataclass(frozen=True)
class Tile:
    """What one program does, and with what.

    Attributes:
        rows: tokens (attention: tokens of all query heads that share a key head).
        columns: of the output (attention: keys per step; queries, keys, values: a head's width).
        depth: of the inner axis per step (attention: a head's width).
        splits: programs that share a tile, a power of 2. warps: of 32 threads.
        stages: steps in flight.
    """

    rows: int
    columns: int
    depth: int
    splits: int
    warps: int = 4
    stages: int = 4


@dataclass(frozen=True)
class Tiles:
    """One tile per program of a layer.

    `early` launches each program while the one before it still runs (from capability 9.0 on).
    """

    heads: Tile
    attention: Tile
    out: Tile
    gate: Tile
    down: Tile
    early: bool = False


@dataclass(frozen=True)
class LayerShape:
    """Sizes of one layer's work: `batch` times `count` tokens."""

    batch: int
    count: int
    hidden: int
    inner: int
    heads: int
    shared: int  # heads of keys and values
    width: int  # of a head
    dtype: torch.dtype

    @classmethod
    def of(cls, weights: LayerWeights, batch: int, count: int) -> LayerShape:
        """Raises ValueError, with the reason, for a layer that the programs cannot run."""
        if batch < 1 or count < 1:
            raise ValueError(f"{batch} x {count} tokens: both have to be at least 1")
        matrices = (weights.qkv, weights.out, weights.gate_up, weights.down)
        for matrix in matrices:
            if not isinstance(matrix, Dense) or matrix.bias is not None:
                raise ValueError("the kernels need plain matrices without a bias")
            if matrix.weight.dtype != weights.qkv.weight.dtype:
                raise ValueError("the kernels need matrices of one dtype")
            if not matrix.weight.is_contiguous():
                raise ValueError("the kernels need contiguous matrices")
        width = len(weights.query_norm)
        rows, hidden = weights.qkv.weight.shape
        shape = cls(
            batch=batch,
            count=count,
            hidden=hidden,
            inner=weights.down.weight.shape[1],
            heads=weights.heads,
            shared=(rows // width - weights.heads) // 2,
            width=width,
            dtype=weights.qkv.weight.dtype,
        )
        shape.check()
        return shape

    def check(self) -> None:
        if self.dtype not in (torch.bfloat16, torch.float16, torch.float32):
            raise ValueError(f"the kernels have no {self.dtype}")
        if self.width < 2 * SMALLEST_SIDE or self.width & (self.width - 1):
            raise ValueError(f"heads {self.width} wide: the kernels need a power of 2 from 32 on")
        for name in ("hidden", "inner"):
            if getattr(self, name) % SMALLEST_SIDE:
                raise ValueError(f"{name} {getattr(self, name)} is no multiple of 16")

    @property
    def tokens(self) -> int:
        return self.batch * self.count

    @property
    def group(self) -> int:
        """Query heads per key head."""
        return self.heads // self.shared


def power_of_two(size: int, lowest: int, highest: int) -> int:
    """The smallest power of 2 that covers `size`, kept within two powers of 2."""
    return min(highest, max(lowest, 1 << (size - 1).bit_length()))


def dividing_power(size: int, highest: int) -> int:
    """The largest power of 2 up to `highest` that divides `size`."""
    return min(highest, size & -size)


def choose_tiles(shape: LayerShape, processors: int, shared_memory: int) -> Tiles:
    """Tiles by the reasoning of docs/kernels.md.

    processors: of the GPU. shared_memory: bytes that one program may have.
    """
    rows = power_of_two(shape.tokens, SMALLEST_SIDE, 64)
    size = shape.dtype.itemsize
    row_tiles = -(-shape.tokens // rows)

    def product(columns: int, blocks: int, depth: int, inner: int, entry: int, pair: int) -> Tile:
        """blocks: of columns. entry: bytes of an element of the input. pair: blocks at once."""
        splits = 1
        while splits < 4 and 2 * splits * blocks * row_tiles <= processors:
            if inner // (2 * splits) < depth or inner % (2 * splits * SMALLEST_SIDE):
                break
            splits *= 2
        depth = dividing_power(inner // splits, depth)
        stage = depth * (rows * entry + pair * columns * size)
        stages = max(1, min(4, (shared_memory - SHARED_RESERVE) // stage))
        return Tile(rows, columns, depth, splits, stages=stages)

    heads = shape.heads + 2 * shape.shared
    narrow = dividing_power(shape.hidden, 32)
    paired = dividing_power(shape.inner, 32)
    wide = shape.heads * shape.width
    return Tiles(
        heads=product(shape.width, heads, 64, shape.hidden, 4, 1),
        attention=attention_tile(shape, processors, shared_memory),
        out=product(narrow, shape.hidden // narrow, 128, wide, size, 1),
        gate=product(paired, shape.inner // paired, 64, shape.hidden, 4, 2),
        down=product(narrow, shape.hidden // narrow, 128, shape.inner, size, 1),
    )


def attention_tile(shape: LayerShape, processors: int, shared_memory: int) -> Tile:
    """Up to 4 programs for the keys of a tile: more would wait longer for the last one to add."""
    rows, keys = power_of_two(shape.group * shape.count, SMALLEST_SIDE, 32), 64
    programs = -(-shape.group * shape.count // rows) * shape.batch * shape.shared
    splits = 1
    while splits < 4 and 2 * splits * programs <= processors:
        splits *= 2
    size = shape.width * shape.dtype.itemsize
    stages = (shared_memory - SHARED_RESERVE - rows * size) // (2 * keys * size)
    return Tile(rows, keys, shape.width, splits, stages=max(1, min(3, stages)))


@dataclass(frozen=True)
class Grid:
    """The programs of one launch."""

    tile: Tile
    rows: int  # to cut into tiles
    blocks: int  # of columns
    part: int  # float32 elements that a split leaves for the last one

    @property
    def tiles(self) -> int:
        return -(-self.rows // self.tile.rows) * self.blocks

    @property
    def programs(self) -> int:
        return self.tiles * self.tile.splits

    @property
    def scratch(self) -> int:
        """float32 elements."""
        return self.programs * self.part if self.tile.splits > 1 else 0

    @property
    def axes(self) -> tuple[int, int, int]:
        """Rows vary fastest: programs that read the same weights run side by side."""
        return -(-self.rows // self.tile.rows), self.tile.splits, self.blocks


@dataclass(frozen=True)
class Grids:
    """The five launches of a layer, in their order."""

    heads: Grid
    attention: Grid
    out: Grid
    gate: Grid
    down: Grid

    @classmethod
    def of(cls, shape: LayerShape, tiles: Tiles) -> Grids:
        """Raises ValueError where a tile does not divide what it has to."""

        def grid(tile: Tile, rows: int, blocks: int, entries: int) -> Grid:
            """entries: float32 elements per row that a split leaves."""
            return Grid(tile, rows, blocks, tile.rows * entries)

        def residual(tile: Tile) -> Grid:
            return grid(tile, shape.tokens, shape.hidden // tile.columns, tile.columns)

        _check_tiles(shape, tiles)
        every_head = shape.heads + 2 * shape.shared
        pairs = shape.batch * shape.shared
        gate = tiles.gate.columns
        return cls(
            heads=grid(tiles.heads, shape.tokens, every_head, shape.width + 1),
            attention=grid(tiles.attention, shape.group * shape.count, pairs, shape.width + 2),
            out=residual(tiles.out),
            gate=grid(tiles.gate, shape.tokens, shape.inner // gate, 2 * gate + 1),
            down=residual(tiles.down),
        )

    def all(self) -> tuple[Grid, ...]:
        return self.heads, self.attention, self.out, self.gate, self.down


def _check_tiles(shape: LayerShape, tiles: Tiles) -> None:
    products = {
        "heads": (shape.hidden, shape.width, tiles.heads),
        "out": (shape.heads * shape.width, shape.hidden, tiles.out),
        "gate": (shape.hidden, shape.inner, tiles.gate),
        "down": (shape.inner, shape.hidden, tiles.down),
    }
    for name, (inner, outer, tile) in products.items():
        if inner % (tile.splits * tile.depth) or outer % tile.columns:
            raise ValueError(f"{name}: {tile} does not divide {inner} x {outer}")
    if tiles.heads.columns != shape.width:
        raise ValueError(f"heads: {tiles.heads} has to have the {shape.width} columns of a head")
    splits = tiles.attention.splits
    if splits & (splits - 1):
        raise ValueError(f"attention: {splits} splits are no power of 2")
