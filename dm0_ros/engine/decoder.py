# SPDX-License-Identifier: Apache-2.0
"""One Qwen3 layer over a static cache: what prefix, generated text and suffix have in common."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dm0_ros.engine.attention import Attend
from dm0_ros.engine.weights import LayerWeights
from dm0_ros.model.rotary import Rope, turn_halves


def split_heads(packed: Tensor, weights: LayerWeights, rope: Rope) -> tuple[Tensor, ...]:
    """Product of `qkv` (B, L, ...) -> turned queries (B, heads, L, d), turned keys, values."""
    size = weights.query_norm.shape
    packed = packed.unflatten(-1, (-1, size[0])).transpose(1, 2)
    shared = (packed.shape[1] - weights.heads) // 2
    query, key, value = packed.split((weights.heads, shared, shared), dim=1)
    query = F.rms_norm(query, size, weights.query_norm, weights.eps)
    key = F.rms_norm(key, size, weights.key_norm, weights.eps)
    return turn_halves(query, rope), turn_halves(key, rope), value


def norm(x: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """Root-mean-square norm of the residual stream; its gain is in the matrix that follows."""
    return F.rms_norm(x, x.shape[-1:], None, eps).to(dtype)


def feed_forward(x: Tensor, weights: LayerWeights, dtype: torch.dtype) -> Tensor:
    """x + SwiGLU."""
    gate, up = weights.gate_up(norm(x, weights.eps, dtype)).chunk(2, -1)
    return x + weights.down(F.silu(gate) * up)


def run_causal_layer(
    x: Tensor,
    weights: LayerWeights,
    keys: Tensor,
    values: Tensor,
    start: int,
    mask: Tensor | None,
    rope: Rope,
    attend: Attend,
) -> Tensor:
    """The prefix stream: x (B, L, hidden) are rows `start` .. `start + L` of it.

    Writes them into keys, values (B, kv heads, C, d) and attends causally to all rows so far.
    mask: bool (L, start + L), needed when `start` is not 0.
    """
    end = start + x.shape[1]
    query, key, value = split_heads(weights.qkv(norm(x, weights.eps, x.dtype)), weights, rope)
    keys[:, :, start:end] = key
    values[:, :, start:end] = value
    mixed = attend(query, keys[:, :, :end], values[:, :, :end], mask, causal=mask is None)
    x = x + weights.out(mixed.transpose(1, 2).flatten(2))
    return feed_forward(x, weights, x.dtype)


def write_keys_values(
    x: Tensor, weights: LayerWeights, keys: Tensor, values: Tensor, start: int, rope: Rope
) -> None:
    """All that the prefix's last layer owes to the suffix. Queries are computed and dropped:
    a third of a product of one layer is not worth another set of weights."""
    end = start + x.shape[1]
    _, key, value = split_heads(weights.qkv(norm(x, weights.eps, x.dtype)), weights, rope)
    keys[:, :, start:end] = key
    values[:, :, start:end] = value
