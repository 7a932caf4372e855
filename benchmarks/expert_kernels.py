# SPDX-License-Identifier: Apache-2.0
"""The Triton kernels of the action expert at full size: what they compile to and what they take.

Compiles for Hopper with or without a GPU. With one it also times a layer of torch's, of the
kernels with the tiles of the table and, with --tune (minutes), with the fastest tiles it finds.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, replace
from functools import partial
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from support.record import make_parser, report

from dm0_ros.engine.flow import run_suffix_layer
from dm0_ros.engine.kernels.tiles import LayerShape
from dm0_ros.engine.linear import Dense
from dm0_ros.engine.weights import LayerWeights

FULL_SIZE = LayerShape(1, 50, 1024, 1536, 16, 8, 128, torch.bfloat16)
LAYERS, PREFIX = 28, 607  # rows of three views and 100 words


def make_layer(shape: LayerShape, device: torch.device) -> LayerWeights:
    """One layer with random weights."""

    def dense(rows: int, columns: int) -> Dense:
        weight = torch.randn(rows, columns, device=device) * columns**-0.5
        return Dense(weight.to(shape.dtype))

    wide = shape.heads * shape.width
    gain = torch.ones(shape.width, device=device, dtype=shape.dtype)
    return LayerWeights(
        qkv=dense(wide + 2 * shape.shared * shape.width, shape.hidden),
        query_norm=gain,
        key_norm=gain,
        out=dense(shape.hidden, wide),
        gate_up=dense(2 * shape.inner, shape.hidden),
        down=dense(shape.hidden, shape.inner),
        heads=shape.heads,
        eps=1e-6,
    )


def describe_code(shape: LayerShape, early: bool) -> list[dict]:
    """Registers, shared memory and matrix instructions of each program, compiled for Hopper."""
    from dm0_ros.engine.kernels.ahead import compile_ahead
    from dm0_ros.engine.kernels.expert import HOPPER_LIMITS
    from dm0_ros.engine.kernels.tiles import choose_tiles

    tiles = replace(choose_tiles(shape, *HOPPER_LIMITS), early=early)
    return [
        {
            "program": program.name,
            "programs": program.grid.programs,
            "tile": asdict(program.grid.tile),
            "registers": program.registers,
            "stack_bytes": program.stack,
            "shared_bytes": program.shared,
            "matrix_instructions": program.tensor,
        }
        for program in compile_ahead(shape, tiles)
    ]


def time_layers(shape: LayerShape, search: bool) -> dict:
    """Microseconds of one layer, of 28 that run in one graph; and the tiles, where tuned."""
    from dm0_ros.engine.kernels.expert import ExpertLayerKernels
    from dm0_ros.engine.kernels.tune import Trial, time_graph, tune

    device = torch.device("cuda")
    layers = [make_layer(shape, device) for _ in range(LAYERS)]
    trial = Trial(layers, shape.batch, shape.count, PREFIX, time_graph)
    table = ExpertLayerKernels(layers[0], shape.batch, shape.count)
    result = {
        "torch_us": trial.time(partial(run_suffix_layer, attend=_attend)) * 1e6,
        "table_us": trial.time(table) * 1e6,
    }
    if search:
        found = tune(layers, shape.batch, shape.count, PREFIX)
        result |= {"tuned_us": found.seconds * 1e6, "tuned": asdict(found.tiles)}
        result["trials"] = [{"us": 1e6 * s, **asdict(tiles)} for tiles, s in found.trials]
    return result


def _attend(query, key, value, mask, causal=False):
    return F.scaled_dot_product_attention(query, key, value, mask, is_causal=causal)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--tune", action="store_true", help="look for faster tiles (GPU)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="robots in one call")
    options = parser.parse_args()
    if find_spec("triton") is None:
        report("expert_kernels", {"not run": "Triton is not installed"}, options.write)
        return
    import triton

    figures = {"triton": triton.__version__}
    for batch in options.batch:
        shape = replace(FULL_SIZE, batch=batch)
        figures[f"batch {batch}"] = {"hopper": describe_code(shape, early=False)}
        if torch.cuda.is_available():
            figures[f"batch {batch}"]["measured"] = time_layers(shape, options.tune)
    report("expert_kernels", figures, options.write)


if __name__ == "__main__":
    warnings.simplefilter("ignore", UserWarning)  # Triton 3.9 announces a default of 3.10
    main()
