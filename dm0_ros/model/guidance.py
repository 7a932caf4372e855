# SPDX-License-Identifier: Apache-2.0
"""Real-time chunking: a new chunk that begins as the one under way will go on.

While the network computes, rows of the old chunk are executed. The new chunk is steered to agree
with them, and softly with the rows after them, so that both meet (RTC, arXiv 2506.07339; hard
prefix: arXiv 2512.05964). Time runs as elsewhere here, from 1, noise, to 0, actions.

B is the batch, H the chunk's rows, D the action width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

STRONGEST = 5.0
"""Bound of the guidance's weight (beta), as in the paper."""

Field = Callable[[Tensor, int, "Tensor | None"], "tuple[Tensor, Tensor | None]"]
"""(noisy actions (B, H, D), number of the Euler step, bool (B, H) of rows given as clean or None)
-> velocity (B, H, D), and the progress predicted, if any."""


class Guidance(str, Enum):
    """How a chunk is made to agree with what is committed."""

    NONE = "none"
    JACOBIAN = "jacobian"  # the paper's: the error goes back through the network
    IDENTITY = "identity"  # the same with an identity for the network's Jacobian: nearly free
    PREFIX = "prefix"  # rows given as clean; for checkpoints trained with it alone


@dataclass(frozen=True)
class Commitment:
    """What is left of the chunk under way, in the network's own space.

    Attributes:
        rows: (B, H, D), row 0 is due when row 0 of the new chunk is; what there is no row for
            may hold anything finite.
        weights: (B, H), how much each row binds, in [0, 1].
        certain: (B,), rows that will be executed whatever comes: d.
    """

    rows: Tensor
    weights: Tensor
    certain: Tensor


def weigh_rows(horizon: int, delay: int, executed: int) -> Tensor:
    """Weights (H,) of RTC: 1 for `delay` rows, falling to 0 at the last `executed` ones.

    Raises ValueError unless delay <= executed <= horizon - delay: else no row that binds would be
    left, or rows that are needed would not be there.
    """
    if not 0 <= delay <= executed <= horizon - delay:
        raise ValueError(
            f"delay {delay}, executed rows {executed}, horizon {horizon}: it must be "
            "delay <= executed <= horizon - delay"
        )
    end = horizon - executed
    place = torch.arange(horizon, dtype=torch.float64)
    share = (end - place) / (end - delay + 1)
    soft = share * torch.expm1(share) / (math.e - 1)
    weights = torch.where(place < delay, 1.0, soft)
    return torch.where(place < end, weights, 0.0).float()


def strength(time: float) -> float:
    """Weight of the correction at `time`: (1 - tau) / (tau r^2), at most `STRONGEST`; tau = 1 - t.

    With r^2 = (1 - tau)^2 / (tau^2 + (1 - tau)^2) this is (tau^2 + t^2) / (tau t).
    """
    tau = 1.0 - time
    if tau * time * STRONGEST <= tau**2 + time**2:
        return STRONGEST
    return (tau**2 + time**2) / (tau * time)


def integrate(
    noise: Tensor,
    times: Sequence[float],
    field: Field,
    guidance: Guidance = Guidance.NONE,
    commitment: Commitment | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Euler steps from noise (B, H, D) to actions, at `times` from 1 down.

    Returns the actions, and the least progress that a step predicted, where the field gives any.
    Raises ValueError where the guidance has no commitment to go by.
    """
    if guidance is not Guidance.NONE and commitment is None:
        raise ValueError(f"guidance {guidance.value} needs a commitment")
    x, least = noise, None
    certain = find_certain(x, commitment) if guidance is Guidance.PREFIX else None
    for index, time in enumerate(times):
        if certain is not None:
            x = torch.where(certain[..., None], commitment.rows, x)
        if guidance in (Guidance.JACOBIAN, Guidance.IDENTITY):
            velocity, end = _steer(field, x, index, time, commitment, guidance)
        else:
            velocity, end = field(x, index, certain)
        x = x - velocity * (1 / len(times))
        if end is not None:
            least = end if least is None else torch.minimum(least, end)
    if certain is not None:
        x = torch.where(certain[..., None], commitment.rows, x)
    return x, least


def _steer(
    field: Field, x: Tensor, index: int, time: float, commitment: Commitment, guidance: Guidance
) -> tuple[Tensor, Tensor | None]:
    """The velocity, corrected so that the actions it leads to keep the commitment."""
    weights = commitment.weights[..., None]
    if guidance is Guidance.IDENTITY:
        velocity, end = field(x, index, None)
        correction = (commitment.rows - (x - time * velocity)) * weights
    else:
        with torch.enable_grad():
            start = x.detach().requires_grad_()
            velocity, end = field(start, index, None)
            clean = start - time * velocity
            error = (commitment.rows - clean.detach()) * weights
            (correction,) = torch.autograd.grad(clean, start, error)
        velocity, end = velocity.detach(), None if end is None else end.detach()
    return velocity - strength(time) * correction, end


def find_certain(x: Tensor, commitment: Commitment) -> Tensor:
    """Which rows of x (B, H, D) are certain: bool (B, H)."""
    return torch.arange(x.shape[1], device=x.device) < commitment.certain[:, None]
