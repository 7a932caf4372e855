# SPDX-License-Identifier: Apache-2.0
"""Pictures into tokens, for all new views at once."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from dm0_ros.engine.attention import Attend
from dm0_ros.engine.weights import BlockWeights, VisionWeights
from dm0_ros.model.config import VisionConfig
from dm0_ros.model.rotary import Rope, turn_halves

NORM_EPS = 1e-5
"""Of the Perception Encoder's LayerNorms (facts: dm0_model.md, A.1)."""

Block = Callable[[Tensor, BlockWeights, Rope, Attend], Tensor]


def run_block(x: Tensor, weights: BlockWeights, rope: Rope, attend: Attend) -> Tensor:
    """One transformer block on x (N, L, width). The weights hold gains and shifts of its norms."""
    width = x.shape[-1:]
    head = rope[0].shape[-1]
    packed = weights.qkv(F.layer_norm(x, width, eps=NORM_EPS)).unflatten(-1, (3, -1, head))
    query, key = turn_halves(packed[:, :, :2], rope).transpose(1, 3).unbind(2)
    mixed = attend(query, key, packed[:, :, 2].transpose(1, 2))
    x = x + weights.out(mixed.transpose(1, 2).flatten(2))
    return x + weights.down(F.gelu(weights.up(F.layer_norm(x, width, eps=NORM_EPS))))


def encode_pictures(
    pixels: Tensor,
    weights: VisionWeights,
    config: VisionConfig,
    attend: Attend,
    block: Block = run_block,
) -> Tensor:
    """Pixels (N, 3, S, S) -> tokens of the language model (N, n, hidden)."""
    grid, patch = config.grid, config.patch_size
    dtype = weights.place.dtype
    cut = pixels.to(dtype).unflatten(3, (grid, patch)).unflatten(2, (grid, patch))
    patches = weights.patch(cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2))
    x = F.pad(patches, (0, 0, 1, 0)) + weights.place
    x = F.layer_norm(x, x.shape[-1:], *weights.norm, eps=NORM_EPS)
    rope = tuple(part[:, None, None] for part in weights.rope)
    for block_weights in weights.blocks:
        x = block(x, block_weights, rope, attend)
    # Tokens in rows and columns are a picture whose channels come last: no copy is needed.
    x = x[:, 1:].unflatten(1, (grid, grid)).permute(0, 3, 1, 2)
    for kernel, bias in weights.shrink:
        x = F.conv2d(x, kernel, bias, stride=2, padding=1)
    return weights.project(x.permute(0, 2, 3, 1).flatten(1, 2))
