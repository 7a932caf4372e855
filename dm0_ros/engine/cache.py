# SPDX-License-Identifier: Apache-2.0
"""Keys and values at fixed places in memory, so that captured graphs can fill and read them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class StaticCache:
    """Keys (already turned) and values of B observations, each (layers, B, kv heads, C, d).

    Rows 0 .. S-1 are the prefix: valid tokens first, then padding up to a bucket. The suffix lies
    behind it, from row S on.
    """

    keys: Tensor
    values: Tensor

    @classmethod
    def allocate(
        cls,
        layers: int,
        batch: int,
        heads: int,
        rows: int,
        width: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> StaticCache:
        """Zeros: a row that was never written must not be NaN, as masked rows are multiplied."""
        shape = (layers, batch, heads, rows, width)
        return cls(
            torch.zeros(shape, dtype=dtype, device=device),
            torch.zeros(shape, dtype=dtype, device=device),
        )

    @property
    def rows(self) -> int:
        """C, prefix and suffix together."""
        return self.keys.shape[3]
