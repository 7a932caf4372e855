# SPDX-License-Identifier: Apache-2.0
"""The action expert over a static cache: noisy actions to their velocity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dm0_ros.engine.attention import Attend
from dm0_ros.engine.cache import StaticCache
from dm0_ros.engine.decoder import feed_forward, norm, split_heads
from dm0_ros.engine.weights import FlowWeights, LayerWeights
from dm0_ros.model.guidance import Field
from dm0_ros.model.rotary import Rope


@dataclass(frozen=True)
class Suffix:
    """Where the suffix of L tokens stands in the cache, the same for all layers and steps.

    Attributes:
        begin: S, the cache's row of its first token. lengths: int32 (B,), valid rows before it.
        rope: (B, 1, L, d) each, at the positions `lengths` and on.
        mask: bool (B, 1, 1, S + L), True where a row exists; None when all do.
    """

    begin: int
    lengths: Tensor
    rope: Rope
    mask: Tensor | None


SuffixLayer = Callable[[Tensor, LayerWeights, Tensor, Tensor, Suffix], Tensor]
"""(x (B, L, hidden) float32, weights, keys, values (B, kv heads, C, d), suffix) -> x."""


def place_suffix(begin: int, count: int, lengths: Tensor, table: Rope, padded: bool) -> Suffix:
    """A suffix of `count` tokens behind prefixes of `lengths` valid rows out of `begin`."""
    places = torch.arange(begin + count, device=lengths.device)
    positions = lengths[:, None] + places[:count]
    mask = (places < lengths[:, None]) | (places >= begin) if padded else None
    return Suffix(
        begin=begin,
        lengths=lengths.int(),  # in a row of its own: kernels know no strides for it
        rope=(table[0][positions][:, None], table[1][positions][:, None]),
        mask=None if mask is None else mask[:, None, None],
    )


def run_suffix_layer(
    x: Tensor,
    weights: LayerWeights,
    keys: Tensor,
    values: Tensor,
    suffix: Suffix,
    attend: Attend,
    differentiable: bool = False,
) -> Tensor:
    """Every token of the suffix sees the prefix and the whole suffix; see `SuffixLayer`.

    Buffers that are written to keep no gradient: where one is wanted, the suffix goes into copies.
    """
    count = x.shape[1]
    begin, end = suffix.begin, suffix.begin + count
    packed = weights.qkv(norm(x, weights.eps, keys.dtype))
    query, key, value = split_heads(packed, weights, suffix.rope)
    if differentiable:
        keys = torch.cat((keys[:, :, :begin], key), 2)
        values = torch.cat((values[:, :, :begin], value), 2)
    else:
        keys[:, :, begin:end] = key
        values[:, :, begin:end] = value
    # The query heads that share a key head become its rows: they see the same, and no kernel has
    # to know about groups.
    rows = query.unflatten(1, (keys.shape[1], -1)).flatten(2, 3)
    mixed = attend(rows, keys[:, :, :end], values[:, :, :end], suffix.mask)
    mixed = mixed.unflatten(2, (-1, count)).flatten(1, 2)
    x = x + weights.out(mixed.transpose(1, 2).flatten(2))
    return feed_forward(x, weights, keys.dtype)


def make_field(
    progress: Tensor | None,
    weights: FlowWeights,
    cache: StaticCache,
    suffix: Suffix,
    layer: SuffixLayer,
) -> Field:
    """The flow field over a cache, for `model.guidance.integrate`. progress: (B, 1), or None."""
    first = None if progress is None else weights.enter_progress(progress)[:, None]

    def field(x: Tensor, step: int, clean: Tensor | None) -> tuple[Tensor, Tensor | None]:
        now = time = weights.time[step]
        if clean is not None:
            time = torch.where(clean[..., None], weights.clean, now)
        tokens = weights.enter(x) + time
        if first is not None:
            tokens = torch.cat((first + now, tokens), 1)
        tokens = weights.mix(F.silu(tokens))
        for index, layer_weights in enumerate(weights.layers):
            tokens = layer(tokens, layer_weights, cache.keys[index], cache.values[index], suffix)
        tokens = norm(tokens, weights.eps, torch.float32)
        velocity = weights.leave(tokens[:, -x.shape[1] :])
        return velocity, None if first is None else weights.leave_progress(tokens[:, 0])

    return field
