# SPDX-License-Identifier: Apache-2.0
"""Flow matching: noise at time 1, actions at time 0, and the straight line between them."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

SHORTEST_PERIOD, LONGEST_PERIOD = 0.004, 4.0
"""Of the time embedding's waves (facts: dm0_model.md, A.3)."""


@lru_cache(maxsize=8)
def _angular_rates(width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    steps = torch.linspace(0, 1, width // 2, dtype=dtype, device=device)
    periods = SHORTEST_PERIOD * (LONGEST_PERIOD / SHORTEST_PERIOD) ** steps
    return 1 / periods * 2 * math.pi


def embed_time(time: Tensor, width: int) -> Tensor:
    """Sines, then cosines, of geometrically spaced periods: (...) -> (..., width).

    Float32 on a CPU and float64 elsewhere, as in the reference: the difference, a ten-thousandth
    at the shortest period, is what decides agreement with it (facts: dm0_model.md, A.3 and F.6).
    """
    dtype = torch.float32 if time.device.type == "cpu" else torch.float64
    angles = time.to(dtype)[..., None] * _angular_rates(width, dtype, time.device)
    return torch.cat((angles.sin(), angles.cos()), -1)


def assign_times(time: Tensor, progress: bool) -> Tensor:
    """Times of a suffix's tokens, broadcast to (B, L), from `time`: (), (B,), or (B, H) by row.

    With `progress` a token stands before the rows; it has the time of the noisiest of them.
    """
    if time.ndim < 2:
        return time.unsqueeze(-1)
    return torch.cat((time.amax(1, keepdim=True), time), 1) if progress else time


@lru_cache(maxsize=8)
def euler_times(steps: int) -> Tensor:
    """Times at which the field is evaluated, from 1 down to about 1/steps: (steps,), float32.

    Subtracted step by step in float32, because the reference does so and its rounding shows in the
    actions (6e-5 after 10 steps); but counted, so that rounding never adds or drops a step.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; the Euler integration needs at least 1")
    step, times = torch.tensor(1 / steps), [torch.tensor(1.0)]
    while len(times) < steps:
        times.append(times[-1] - step)
    return torch.stack(times)


def interpolate(actions: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """Point on the line from actions to noise at `time`, and the velocity along it.

    Args:
        actions, noise: (..., H, D). time: (...), in (0, 1].
    """
    weight = time[..., None, None].to(noise.dtype)
    return weight * noise + (1 - weight) * actions, noise - actions


def draw_time(shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
    """Training times 0.999 * Beta(1.5, 1) + 0.001 (facts: dm0_model.md, A.6)."""
    # Beta(a, 1) has the distribution function x^a, so its quantiles are u^(1/a).
    return 0.999 * torch.rand(shape, generator=generator) ** (1 / 1.5) + 0.001
