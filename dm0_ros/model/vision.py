# SPDX-License-Identifier: Apache-2.0
"""The picture side of DM0: the Perception Encoder and its two down-sampling convolutions.

Parameter names and arithmetic follow the public checkpoints (facts: dm0_model.md, A.1 and B.1).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dm0_ros.model.attention import attend
from dm0_ros.model.config import VisionConfig
from dm0_ros.model.precision import rounds_each_step, rounds_rope
from dm0_ros.model.recompute import run_layer
from dm0_ros.model.rotary import Rope, picture_table, turn_neighbours


class LayerScale(nn.Module):
    """A learned gain per channel on what a block adds to the residual stream."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, residual: Tensor, update: Tensor) -> Tensor:
        if rounds_each_step(update):
            return residual + update * self.gamma
        return torch.addcmul(residual, update, self.gamma)


class VisionAttention(nn.Module):
    """Full attention over the tokens of one picture; q, k, v in one packed matrix."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, rope: Rope) -> Tensor:
        packed = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        packed = packed.unflatten(-1, (3, self.heads, -1))
        turned = turn_neighbours(packed[:, :, :2], rope, rounds_each_step(x))
        query, key = (part.transpose(1, 2) for part in turned.unbind(2))
        value = packed[:, :, 2].transpose(1, 2)
        return self.out_proj(attend(query, key, value))


class VisionBlock(nn.Module):
    """One pre-norm transformer block with LayerScale."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width = config.width
        hidden = int(width * config.mlp_ratio)
        self.attn = VisionAttention(width, config.heads)
        self.ls_1, self.ls_2 = LayerScale(width), LayerScale(width)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(width, hidden), "c_proj": nn.Linear(hidden, width)}
        )

    def forward(self, x: Tensor, rope: Rope) -> Tensor:
        x = self.ls_1(x, self.attn(self.ln_1(x), rope))
        hidden = F.gelu(self.mlp["c_fc"](self.ln_2(x)))
        return self.ls_2(x, self.mlp["c_proj"](hidden))


class VisionTower(nn.Module):
    """Pictures (N, 3, S, S) in [-1, 1] to tokens (N, n, 4 * width).

    `rounded_rope`: see `DM0Config`.
    """

    def __init__(self, config: VisionConfig, rounded_rope: bool | None = None) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.rounded_rope = rounded_rope
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(1 + config.grid**2, width))
        self.conv1 = nn.Conv2d(3, width, config.patch_size, config.patch_size, bias=False)
        self.ln_pre = nn.LayerNorm(width)
        blocks = nn.ModuleList(VisionBlock(config) for _ in range(config.layers))
        self.transformer = nn.ModuleDict({"resblocks": blocks})
        self.vit_downsampler1 = nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.vit_downsampler2 = nn.Conv2d(2 * width, 4 * width, 3, 2, 1)
        self.recompute = False  # see `model.recompute`
        self._rope: Rope | None = None

    def forward(self, pictures: Tensor) -> Tensor:
        grid = self.config.grid
        patches = self.conv1(pictures.to(self.conv1.weight.dtype)).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(patches), 1, -1)
        x = self.ln_pre(torch.cat((first, patches), 1) + self.positional_embedding)
        rope = self._table(x)
        for block in self.transformer["resblocks"]:
            x = run_layer(self.recompute, block, x, rope)
        # The convolutions are a fifth faster on a CPU, and bit for bit the reference's, in rows.
        x = x[:, 1:].transpose(1, 2).contiguous().unflatten(-1, (grid, grid))
        x = self.vit_downsampler2(self.vit_downsampler1(x))
        return x.flatten(2).transpose(1, 2)

    def _table(self, x: Tensor) -> Rope:
        """Table shaped to turn (N, L, 2, heads, d); kept, as it only depends on size and dtype."""
        kept = self._rope
        if kept is None or kept[0].dtype != x.dtype or kept[0].device != x.device:
            size = self.config.width // self.config.heads
            rounded = rounds_rope(self.rounded_rope, x.dtype)
            # A table made in inference mode could never be trained with.
            with torch.inference_mode(False):
                table = picture_table(self.config.grid, size, rounded)
                self._rope = tuple(part[:, None, None].to(x.device, x.dtype) for part in table)
        return self._rope
