# SPDX-License-Identifier: Apache-2.0
"""Runs the kernels on small layers and compares them with plain torch in float32.

A program of its own, `python kernel_cases.py OUT.json`: Triton's interpreter has to be chosen
before Triton is imported, and would stay chosen for every other test of the process.
"""

import json
import math
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from dm0_ros.engine.flow import place_suffix
from dm0_ros.engine.kernels.tiles import LayerShape, Tile, Tiles, choose_tiles
from dm0_ros.engine.linear import Dense
from dm0_ros.engine.weights import LayerWeights
from dm0_ros.model.rotary import sequence_table

EPS = 1e-6
TUNING = "tuning"
LAYERS, SPARE = 3, 5  # of the cache; the middle layer is used, and rows are left behind the suffix


@dataclass(frozen=True)
class Case:
    lengths: tuple[int, ...]  # valid rows of the prefix, per observation
    begin: int  # rows of the prefix with its padding
    count: int
    hidden: int = 64
    inner: int = 96
    heads: int = 4
    shared: int = 2
    width: int = 32
    dtype: str = "float32"
    gain: float = 1.0  # of queries and keys; scores go with its square
    tiles: dict = field(default_factory=dict)  # what to change in every tile


CASES = {
    "one short suffix": Case((11,), 16, 5),
    "three of different length": Case((11, 32, 1), 32, 51),
    "an empty prefix": Case((0, 3), 16, 6),
    "no padding": Case((20,), 20, 17),
    "no groups": Case((9, 16), 16, 7, heads=2, shared=2),
    "groups of four": Case((9, 16), 16, 20, heads=8, shared=2),
    "heads of full width": Case(
        (70,), 80, 51, inner=64, heads=2, shared=1, width=128, tiles={"splits": 1}
    ),
    "two splits": Case((150, 20), 160, 9, inner=64, tiles={"splits": 2, "depth": 16}),
    "four splits": Case((150,), 160, 50, inner=64, tiles={"splits": 4, "depth": 16}),
    "few keys for the splits": Case((1,), 16, 3, inner=64, tiles={"splits": 4, "depth": 16}),
    "small tiles": Case((30, 40), 48, 10, tiles={"rows": 16, "columns": 16, "depth": 16}),
    "scores beyond the range of exp": Case((9,), 16, 80, inner=64, gain=8.0),
    "eight robots": Case((5, 6, 7, 8, 1, 2, 3, 4), 8, 10),
}
for _name in ("heads of full width", "four splits"):
    for _dtype in ("bfloat16", "float16"):
        CASES[f"{_name}, {_dtype}"] = replace(CASES[_name], dtype=_dtype)


def dtype_on(case: Case, kind: str) -> str:
    """The kernels have no float32 on a GPU; the next best to tell errors from rounding."""
    return "float16" if kind == "cuda" and case.dtype == "float32" else case.dtype


def make_weights(case: Case, device: torch.device) -> LayerWeights:
    dtype, wide = getattr(torch, case.dtype), case.heads * case.width

    def dense(rows: int, columns: int) -> Dense:
        return Dense((torch.randn(rows, columns) * columns**-0.5).to(device, dtype))

    def gain() -> torch.Tensor:
        return (case.gain * (0.5 + torch.rand(case.width))).to(device, dtype)

    return LayerWeights(
        qkv=dense(wide + 2 * case.shared * case.width, case.hidden),
        query_norm=gain(),
        key_norm=gain(),
        out=dense(case.hidden, wide),
        gate_up=dense(2 * case.inner, case.hidden),
        down=dense(case.hidden, case.inner),
        heads=case.heads,
        eps=EPS,
    )


def plain_norm(x, gain=1.0):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + EPS) * gain


def plain_layer(x, weights, keys, values, length, rope):
    """The oracle, one observation at a time: x (L, hidden), keys, values (kv heads, S, d).

    All in float32; gives the new x and the suffix's own keys and values (kv heads, L, d).
    """
    cos, sin = rope
    width = cos.shape[-1]

    def turn(part):
        partner = torch.cat((part[..., width // 2 :], part[..., : width // 2]), -1)
        return part * cos + partner * sin

    packed = (plain_norm(x) @ weights.qkv.weight.float().T).view(len(x), -1, width).transpose(0, 1)
    shared = len(keys)
    query = turn(plain_norm(packed[: weights.heads], weights.query_norm.float()))
    own_key = turn(plain_norm(packed[weights.heads : -shared], weights.key_norm.float()))
    own_value = packed[-shared:]
    heads = []
    for head in range(weights.heads):
        place = head * shared // weights.heads
        key = torch.cat((keys[place, :length], own_key[place]))
        value = torch.cat((values[place, :length], own_value[place]))
        heads.append((query[head] @ key.T / math.sqrt(width)).softmax(-1) @ value)
    x = x + torch.cat(heads, -1) @ weights.out.weight.float().T
    gate, up = (plain_norm(x) @ weights.gate_up.weight.float().T).chunk(2, -1)
    inner = nn.functional.silu(gate) * up
    return x + inner @ weights.down.weight.float().T, own_key, own_value


def make_tiles(case: Case, weights: LayerWeights) -> Tiles | None:
    if not case.tiles:
        return None
    shape = LayerShape.of(weights, len(case.lengths), case.count)
    tiles = choose_tiles(shape, 132, 227 * 1024)

    def change(name: str) -> Tile:
        changes = dict(case.tiles)
        if name in ("heads", "attention"):
            changes.pop("columns", None)
        if name == "attention":
            changes.pop("depth", None)
        return replace(getattr(tiles, name), **changes)

    return Tiles(*(change(name) for name in ("heads", "attention", "out", "gate", "down")))


def relative(got, want):
    return ((got.float() - want).norm() / want.norm()).item()


def run(case: Case, device: torch.device) -> dict:
    from dm0_ros.engine.kernels.expert import ExpertLayerKernels

    torch.manual_seed(0)
    dtype, batch = getattr(torch, case.dtype), len(case.lengths)
    weights = make_weights(case, device)
    rows = case.begin + case.count
    shape = (LAYERS, batch, case.shared, rows + SPARE, case.width)
    caches = [torch.full(shape, math.nan, dtype=dtype, device=device) for _ in range(2)]
    for cache in caches:
        for index, length in enumerate(case.lengths):
            valid = cache[1, index, :, :length]
            valid.copy_(torch.randn(valid.shape))
    before = [cache.clone() for cache in caches]
    x = torch.randn(batch, case.count, case.hidden).to(device)
    table = tuple(t.to(device, dtype) for t in sequence_table(rows, case.width, 1e6))
    lengths = torch.tensor(case.lengths, device=device)
    suffix = place_suffix(case.begin, case.count, lengths, table, padded=True)

    layer = ExpertLayerKernels(weights, batch, case.count, make_tiles(case, weights))
    for name in ("_query", "_mixed", "_hidden", "_scratch"):
        getattr(layer, name).fill_(math.nan)
    keys, values = (cache[1] for cache in caches)
    got = layer(x.clone(), weights, keys, values, suffix)
    own = [part[:, :, case.begin : rows].clone() for part in (keys, values)]
    again = layer(x.clone(), weights, keys, values, suffix)

    wanted = [
        plain_layer(
            x[i], weights, before[0][1, i].float(), before[1][1, i].float(), length,
            [part[i, 0].float() for part in suffix.rope],
        )
        for i, length in enumerate(case.lengths)
    ]  # fmt: skip
    want, want_keys, want_values = (torch.stack(parts) for parts in zip(*wanted, strict=True))
    for cache, old in zip(caches, before, strict=True):
        cache[1, :, :, case.begin : rows] = old[1, :, :, case.begin : rows]
    return {
        "x": relative(got, want),
        "keys": relative(own[0], want_keys),
        "values": relative(own[1], want_values),
        "same again": torch.equal(got, again),
        "rest untouched": all(
            torch.equal(cache.view(torch.uint8), old.view(torch.uint8))
            for cache, old in zip(caches, before, strict=True)
        ),
        "counters left": int(layer._counters.abs().sum()),
    }


def run_tuning(device: torch.device) -> dict:
    """Tunes with made-up times, for which the layers run all the same."""
    from dm0_ros.engine.kernels.tune import tune

    torch.manual_seed(0)
    case = Case((2,), 4, 3, hidden=32, inner=32, heads=2, shared=1, dtype="float16")
    times = torch.rand(1000).tolist()

    def measure(action):
        action()
        return times.pop()

    tuning = tune([make_weights(case, device)], 1, case.count, case.begin, measure)
    fastest, seconds = min(tuning.trials, key=lambda trial: trial[1])
    return {
        "trials": len(tuning.trials),
        "different": len({tiles for tiles, _ in tuning.trials}),
        "fastest taken": tuning.tiles == fastest and tuning.seconds == seconds,
    }


def mend_interpreter() -> None:
    """Its `dot` takes the bits of bfloat16 for integers; hand it float32."""
    import numpy as np
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    plain = InterpreterBuilder.create_dot

    def widen(handle):
        if handle.dtype.scalar != tl.bfloat16:
            return handle
        return TensorHandle((handle.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    def dot(self, a, b, *rest):
        return plain(self, widen(a), widen(b), *rest)

    InterpreterBuilder.create_dot = dot


def main() -> None:
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
        mend_interpreter()
    results = {TUNING: run_tuning(device)}
    for name, case in CASES.items():
        results[name] = run(replace(case, dtype=dtype_on(case, device.type)), device)
    Path(sys.argv[1]).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
