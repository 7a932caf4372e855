# SPDX-License-Identifier: Apache-2.0
"""The language model: pictures' tokens and text into a static cache, then, on demand, text out."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from dm0_ros.engine.attention import Attend
from dm0_ros.engine.cache import StaticCache
from dm0_ros.engine.decoder import run_causal_layer, write_keys_values
from dm0_ros.engine.weights import PrefixWeights
from dm0_ros.model.rotary import Rope

CausalLayer = Callable[..., Tensor]
"""Called like `run_causal_layer`."""


def read_prefix(
    seen: Tensor,
    token_ids: Tensor,
    start: int,
    weights: PrefixWeights,
    cache: StaticCache,
    table: Rope,
    attend: Attend,
    layer: CausalLayer = run_causal_layer,
    want_hidden: bool = False,
) -> Tensor | None:
    """Fills the cache with the tokens of pictures and text, from row `start` on.

    Padding lies behind the valid tokens, where causality hides it from them.

    Args:
        seen: (B, V * n, hidden), tokens of the pictures. token_ids: (B, T), padded.
        start: rows of `seen` whose keys and values the cache holds already.
        table: rotary table (positions, d) each.
        want_hidden: also give the output of all rows before the final norm, (B, L, hidden).
    """
    text = F.embedding(token_ids, weights.embeddings)
    x = torch.cat((seen[:, start:], text), 1)
    end = start + x.shape[1]
    mask = None
    if start:
        places = torch.arange(end, device=x.device)
        mask = places <= places[start:, None]
    rope = table[0][start:end], table[1][start:end]
    whole = len(weights.layers) if want_hidden else len(weights.layers) - 1
    for index, layer_weights in enumerate(weights.layers[:whole]):
        keys, values = cache.keys[index], cache.values[index]
        x = layer(x, layer_weights, keys, values, start, mask, rope, attend)
    if want_hidden:
        return x
    write_keys_values(x, weights.layers[-1], cache.keys[-1], cache.values[-1], start, rope)
    return None
