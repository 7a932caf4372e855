# SPDX-License-Identifier: Apache-2.0
"""Rotary position tables: one axis for the language streams, two for the vision tower.

A table is a pair (cos, signed sin) of the width of a head. `signed sin` carries the minus sign of
the rotation, so that turning a vector x is `x * cos + partner(x) * signed_sin`, where `partner`
brings each element the other one of its pair.
"""

from __future__ import annotations

import torch
from torch import Tensor

Rope = tuple[Tensor, Tensor]


def inverse_frequencies(width: int, theta: float, rounded: bool = False) -> Tensor:
    """Angle per position of each of the width/2 pairs, computed in float32 as by the reference.

    `rounded` gives the bfloat16 values that the reference uses when it runs in bfloat16
    (facts: dm0_model.md, F.2).
    """
    values = 1 / theta ** (torch.arange(0, width, 2).float() / width)
    return values.bfloat16().float() if rounded else values


def sequence_table(length: int, width: int, theta: float, rounded: bool = False) -> Rope:
    """Table (length, width) for pairs that lie half a head apart, as in Qwen3."""
    angles = torch.arange(length).float()[:, None] * inverse_frequencies(width, theta, rounded)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)


def turn_halves(x: Tensor, rope: Rope, in_steps: bool = False) -> Tensor:
    """Rotates pairs (i, i + width/2) of the last axis; tables broadcast against x.

    `in_steps` rounds both products before they are added, as the reference does.
    """
    return _turn(x, x.roll(x.shape[-1] // 2, -1), rope, in_steps)


def picture_table(grid: int, width: int, rounded: bool = False) -> Rope:
    """Table (1 + grid*grid, width) for the class token and the patches in row-major order.

    The first half of a head turns with the column, the second with the row, in adjacent pairs;
    both count from 1, and the class token, row 0, stays unturned.
    """
    steps = torch.arange(1, grid + 1).float()[:, None] * inverse_frequencies(width // 2, 10_000.0)
    columns = steps[None, :, :].expand(grid, -1, -1)
    rows = steps[:, None, :].expand(-1, grid, -1)
    angles = torch.cat((columns, rows), -1).reshape(grid * grid, width // 2)
    angles = torch.cat((torch.zeros(1, width // 2), angles))
    if rounded:
        angles = angles.bfloat16().float()
    cos, sin = angles.cos(), angles.sin()
    return cos.repeat_interleave(2, -1), torch.stack((-sin, sin), -1).flatten(-2)


def turn_neighbours(x: Tensor, rope: Rope, in_steps: bool = False) -> Tensor:
    """Rotates pairs (2i, 2i + 1) of the last axis; see `turn_halves`."""
    return _turn(x, x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2), rope, in_steps)


def _turn(x: Tensor, partner: Tensor, rope: Rope, in_steps: bool) -> Tensor:
    if in_steps:
        return x * rope[0] + partner * rope[1]
    return torch.addcmul(x * rope[0], partner, rope[1])
