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


def compact(tokens: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Moves the valid tokens of each sample to the front and cuts off what no sample needs.

    Args:
        tokens: (B, L, hidden). valid: bool (B, L).

    Returns:
        (B, S, hidden) with S the largest number of valid tokens, and those numbers (B,).
    """
    lengths = valid.sum(1)
    longest = int(lengths.max())
    order = torch.argsort(~valid, dim=1, stable=True)[:, :longest]
    return tokens.gather(1, order[..., None].expand(-1, -1, tokens.shape[-1])), lengths


def key_mask(lengths: Tensor, longest: int, following: int) -> Tensor | None:
    """True where a key exists: the first `lengths` of `longest`, and all that follow.

    Returns (B, 1, 1, longest + following), or None when every sample is as long as the longest.
    """
    if bool((lengths == longest).all()):
        return None
    place = torch.arange(longest + following, device=lengths.device)
    return ((place < lengths[:, None]) | (place >= longest))[:, None, None]
