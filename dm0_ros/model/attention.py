# SPDX-License-Identifier: Apache-2.0
"""Scaled dot-product attention, in the precision that suits the device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, causal: bool = False
) -> Tensor:
    """Mixes values: query (B, heads, L, d), key, value (B, kv heads, S, d) -> (B, L, heads * d).

    `mask` (broadcast to B, heads, L, S) is True where a key may be seen. Query heads share the
    key heads in order, an equal number each.
    """
    grouped = query.shape[1] != key.shape[1]
    if query.device.type == "cpu":
        # The CPU kernels in bfloat16 are slower than in float32, backward five times.
        with torch.autocast("cpu", enabled=False):
            mixed = F.scaled_dot_product_attention(
                query.float(), key.float(), value.float(), mask,
                is_causal=causal, enable_gqa=grouped,
            ).to(value.dtype)  # fmt: skip
    else:
        mixed = F.scaled_dot_product_attention(
            query, key, value, mask, is_causal=causal, enable_gqa=grouped
        )
    return mixed.transpose(1, 2).flatten(2)
