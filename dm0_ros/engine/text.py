# SPDX-License-Identifier: Apache-2.0
"""Text out of the language model, token by token, into the cache that the actions see."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from dm0_ros.engine.attention import Attend
from dm0_ros.engine.cache import StaticCache
from dm0_ros.engine.decoder import feed_forward, norm, split_heads
from dm0_ros.engine.weights import LayerWeights, PrefixWeights
from dm0_ros.model.reasoning import CHOICES, draw_token
from dm0_ros.model.rotary import Rope

TokenLayer = Callable[..., Tensor]
"""Called like `run_token_layer`."""


CANDIDATES = 16
"""Tokens whose likelihood is computed again in float32, where all of them come rounded."""


def choose_token(hidden: Tensor, weights: PrefixWeights, chance: Tensor | None = None) -> Tensor:
    """The likeliest token after outputs (B, hidden) that were not normed yet: (B,).

    With ``chance`` (B, 2), a number in [0, 1) and a temperature, a token that is drawn instead.
    Scores rounded to bfloat16 have several tokens in the first place, so the best of them are
    compared in float32.
    """
    normed = F.rms_norm(hidden, weights.norm.shape, weights.norm, weights.eps)
    scores = F.linear(normed, weights.embeddings)
    if chance is None and scores.dtype == torch.float32:
        return scores.argmax(-1)
    count = CANDIDATES if chance is None else CHOICES
    best = scores.topk(min(count, scores.shape[-1])).indices
    exact = (weights.embeddings[best].float() @ normed.float()[..., None]).squeeze(-1)
    if chance is None:
        return best.gather(1, exact.argmax(-1, keepdim=True)).squeeze(-1)
    exact, order = exact.sort(descending=True, stable=True)
    place = draw_token(exact, chance[:, 0], chance[:, 1])
    return best.gather(1, order.gather(1, place[:, None])).squeeze(-1)


def run_token_layer(
    x: Tensor,
    weights: LayerWeights,
    keys: Tensor,
    values: Tensor,
    rows: Tensor,
    mask: Tensor,
    rope: Rope,
    attend: Attend,
) -> Tensor:
    """One token of each observation, x (B, 1, hidden), at cache rows (B,) of its own."""
    query, key, value = split_heads(weights.qkv(norm(x, weights.eps, x.dtype)), weights, rope)
    each = torch.arange(len(x), device=x.device)
    keys[each, :, rows] = key[:, :, 0]
    values[each, :, rows] = value[:, :, 0]
    reach = mask.shape[-1]
    # Query heads that share a key head become its rows, as in the suffix.
    shared = query.flatten(1, 2).unflatten(1, (keys.shape[1], -1))
    mixed = attend(shared, keys[:, :, :reach], values[:, :, :reach], mask)
    x = x + weights.out(mixed.flatten(1)[:, None])
    return feed_forward(x, weights, x.dtype)


def read_token(
    token: Tensor,
    rows: Tensor,
    reach: int,
    weights: PrefixWeights,
    cache: StaticCache,
    table: Rope,
    attend: Attend,
    layer: TokenLayer = run_token_layer,
    chance: Tensor | None = None,
) -> Tensor:
    """Reads tokens (B,) into cache rows (B,), all below `reach`; the next ones, (B,).

    Those are the likeliest ones, or drawn by `chance`: see `choose_token`.
    """
    x = F.embedding(token, weights.embeddings)[:, None]
    mask = torch.arange(reach, device=rows.device) <= rows[:, None]
    rope = table[0][rows][:, None, None], table[1][rows][:, None, None]
    for index, layer_weights in enumerate(weights.layers):
        keys, values = cache.keys[index], cache.values[index]
        x = layer(x, layer_weights, keys, values, rows, mask[:, None, None], rope, attend)
    return choose_token(x[:, 0], weights, chance)
