# SPDX-License-Identifier: Apache-2.0
"""The choice between ways to run a layer of the action expert: torch, or kernels of our own."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from dm0_ros.engine import kernels
from dm0_ros.engine.flow import Suffix, SuffixLayer
from dm0_ros.engine.trials import first_line, time_fairly
from dm0_ros.engine.weights import LayerWeights
from dm0_ros.errors import Dm0Error

TORCH, TRITON = "torch", "triton"
LARGEST_ERROR = 1e-2
"""Relative to torch's layer: what bfloat16 products in another order may differ by."""


@dataclass(frozen=True)
class LayerChoice:
    """What was taken, the time a layer took in ms, and why others were not."""

    name: str
    layer: SuffixLayer
    milliseconds: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def choose_suffix_layer(
    plain: SuffixLayer,
    weights: LayerWeights,
    keys: Tensor,
    values: Tensor,
    suffix: Suffix,
    wish: bool | None,
) -> LayerChoice:
    """The fastest right way on buffers of the real sizes; `plain` is torch's, and the oracle.

    keys, values (B, kv heads, C, d): rows from `suffix.begin` on are overwritten. `wish`: True
    takes the kernels or raises `Dm0Error` with what is in the way, False never takes them.
    """
    if wish is False:
        return LayerChoice(TORCH, plain)
    batch, count = suffix.rope[0].shape[0], suffix.rope[0].shape[2]
    shape = (batch, count, weights.out.weight.shape[0])
    generator = torch.Generator(keys.device).manual_seed(0)
    x = torch.randn(shape, generator=generator, device=keys.device)

    def run(layer: SuffixLayer) -> Tensor:
        return layer(x.clone(), weights, keys, values, suffix)  # kernels write into x

    reason = kernels.refusal(weights)
    if reason is None:
        try:
            from dm0_ros.engine.kernels.expert import ExpertLayerKernels

            ours = ExpertLayerKernels(weights, batch, count)
            reason = _compare(run(ours), run(plain))
        except (RuntimeError, ValueError) as error:
            reason = first_line(error)
    if reason is not None:
        if wish:
            raise Dm0Error(f"the Triton kernels were asked for, but cannot be used: {reason}")
        return LayerChoice(TORCH, plain, refused={TRITON: reason})
    if wish:
        return LayerChoice(TRITON, ours)
    ways = {TORCH: plain, TRITON: ours}
    actions = {name: (lambda layer=layer: run(layer)) for name, layer in ways.items()}
    milliseconds, failed = time_fairly(actions, keys.device)
    if not milliseconds:
        return LayerChoice(TORCH, plain, refused=failed)
    best = min(milliseconds, key=milliseconds.__getitem__)
    return LayerChoice(best, ways[best], milliseconds, failed)


def _compare(out: Tensor, expected: Tensor) -> str | None:
    error = float((out - expected).norm() / expected.norm())
    if error <= LARGEST_ERROR:
        return None
    return f"are wrong: error {error:.1e} relative to torch's layer, more than {LARGEST_ERROR:.0e}"
