# SPDX-License-Identifier: Apache-2.0
"""Scaled dot-product attention, in the precision that suits the device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dm0_ros.model.precision import rounds_each_step


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, causal: bool = False
) -> Tensor:
    """Mixes values: query (B, heads, L, d), key, value (B, kv heads, S, d) -> (B, L, heads * d).

    `mask` (broadcast to B, heads, L, S) is True where a key may be seen. Query heads share the
    key heads in order, an equal number each.
    """
    grouped = query.shape[1] != key.shape[1]
    if query.device.type == "cpu" and not rounds_each_step(query):
        wide = torch.promote_types(query.dtype, torch.float32)
        # The CPU kernels in bfloat16 are slower than in float32, backward five times.
        with torch.autocast("cpu", enabled=False):
            mixed = F.scaled_dot_product_attention(
                query.to(wide), key.to(wide), value.to(wide), mask,
                is_causal=causal, enable_gqa=grouped,
            ).to(value.dtype)  # fmt: skip
    else:
        mixed = F.scaled_dot_product_attention(
            query, key, value, mask, is_causal=causal, enable_gqa=grouped
        )
    return mixed.transpose(1, 2).flatten(2)


def attend_in_steps(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, causal: bool = False
) -> Tensor:
    """`attend` as the reference's decoders do it: scores and weights are rounded to the dtype of
    the query, and only the softmax between them is float32 (facts: dm0_model.md, A.4).
    """
    shared = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(shared, 1) for x in (key, value))
    scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        # No row is masked whole: a suffix sees itself, and a prefix begins with a valid token.
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    return (weights @ value).transpose(1, 2).flatten(2)
