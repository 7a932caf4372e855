# SPDX-License-Identifier: Apache-2.0
"""Random weights for training from scratch. Public checkpoints never need them."""

from __future__ import annotations

import math

from torch import nn

from dm0_ros.model.vision import LayerScale, VisionAttention, VisionTower

RESIDUAL_OUTPUTS = ("o_proj", "down_proj", "out_proj", "c_proj")


def initialise(network: nn.Module, layers: int) -> None:
    """Fills every matrix of `network` in place; norms and biases keep their defaults.

    Matrices keep the scale of what passes through them at any width. Those that write into a
    residual stream of `layers` layers are shrunk, so that the stream's scale does not grow with
    depth, which is why LayerScale starts at one; the velocity head starts near zero, so that the
    first loss is that of a zero field. Embeddings are as large as what the layers write beside
    them: smaller ones are drowned, and a small network then takes thousands of steps to listen
    to its instruction.
    """
    for name, module in network.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            std = 1 / math.sqrt(module.weight[0].numel())
            if name.endswith(RESIDUAL_OUTPUTS):
                std /= math.sqrt(2 * layers)
            if name.endswith(("action_out_proj", "progress_out_proj")):
                std = 0.02
            _truncated(module.weight, std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            _truncated(module.weight, 1.0)
        elif isinstance(module, LayerScale):
            nn.init.ones_(module.gamma)
        elif isinstance(module, VisionAttention):
            _truncated(module.in_proj_weight, 1 / math.sqrt(module.in_proj_weight.shape[1]))
        elif isinstance(module, VisionTower):
            _truncated(module.class_embedding, 0.5)
            _truncated(module.positional_embedding, 0.5)


def _truncated(weight: nn.Parameter, std: float) -> None:
    nn.init.trunc_normal_(weight, std=std, a=-3 * std, b=3 * std)
