# SPDX-License-Identifier: Apache-2.0
"""What an observation leaves for the action expert: keys and values, and where they end."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dm0_ros.model.rotary import Rope
from dm0_ros.model.transformer import KeysValues


@dataclass(frozen=True)
class PrefixCache:
    """Keys and values of B encoded observations, valid tokens first.

    Attributes:
        layers: per layer, turned keys and values, each (B, kv heads, S, d).
        lengths: valid tokens of each observation, (B,), at most S.
        rope: table for the tokens that follow, (B, 1, L, d) each; row 0 is the next position.
        mask: which of S + L keys exist, (B, 1, 1, S + L); None when all do.
        hidden: normed output of the prefix (B, S, hidden), where it was asked for.
    """

    layers: list[KeysValues]
    lengths: Tensor
    rope: Rope
    mask: Tensor | None
    hidden: Tensor | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    def repeat(self, times: int) -> PrefixCache:
        """Each observation `times` times in a row: (B, ...) becomes (B * times, ...)."""
        if times == 1:
            return self

        def copies(x: Tensor) -> Tensor:
            return x.repeat_interleave(times, 0)

        return PrefixCache(
            layers=[(copies(key), copies(value)) for key, value in self.layers],
            lengths=copies(self.lengths),
            rope=(copies(self.rope[0]), copies(self.rope[1])),
            mask=None if self.mask is None else copies(self.mask),
            hidden=None if self.hidden is None else copies(self.hidden),
        )

    def detach(self) -> PrefixCache:
        """The same values with no gradient into vision tower and language model."""
        layers = [(key.detach(), value.detach()) for key, value in self.layers]
        return replace(self, layers=layers)

    def suffix_mask(self, count: int) -> Tensor | None:
        """Mask for a suffix of `count` tokens, (B, 1, 1, S + count)."""
        if self.mask is None:
            return None
        return self.mask[..., : self.layers[0][0].shape[2] + count]


def make_cache(
    layers: list[KeysValues], lengths: Tensor, table: Rope, following: int, hidden: Tensor | None
) -> PrefixCache:
    """A cache, ready for `following` tokens after it; `table` must reach that far."""
    longest = layers[0][0].shape[2]
    places = places_after(lengths, following)
    return PrefixCache(
        layers=layers,
        lengths=lengths,
        rope=rope_at(table, places),
        mask=key_mask(lengths, longest, following),
        hidden=hidden,
    )


def places_after(lengths: Tensor, count: int) -> Tensor:
    """Positions of `count` tokens that follow `lengths` valid ones: (B, count)."""
    return lengths[:, None] + torch.arange(count, device=lengths.device)


def rope_at(table: Rope, places: Tensor) -> Rope:
    """Rows (B, n) of a table, to turn queries and keys (B, heads, n, d)."""
    return table[0][places][:, None], table[1][places][:, None]


def order_valid(valid: Tensor) -> tuple[Tensor, Tensor]:
    """Where the valid tokens of each sample are, in their order, then as much of the others as
    the longest sample needs: (B, S). And how many are valid: (B,). `valid` is bool (B, L).
    """
    lengths = valid.sum(1)
    return torch.argsort(~valid, dim=1, stable=True)[:, : int(lengths.max())], lengths


def pick(x: Tensor, order: Tensor) -> Tensor:
    """Rows `order` (B, S) of the last axis but one of x (B, ..., L, width)."""
    places = order.view(len(x), *[1] * (x.ndim - 3), -1, 1)
    return x.gather(-2, places.expand(*x.shape[:-2], -1, x.shape[-1]))


def key_mask(lengths: Tensor, longest: int, following: int) -> Tensor | None:
    """True where a key exists: the first `lengths` of `longest`, and all that follow.

    Returns (B, 1, 1, longest + following), or None when every sample is as long as the longest.
    """
    if bool((lengths == longest).all()):
        return None
    place = torch.arange(longest + following, device=lengths.device)
    return ((place < lengths[:, None]) | (place >= longest))[:, None, None]
