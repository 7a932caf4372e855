# SPDX-License-Identifier: Apache-2.0
"""Linear maps as the fast network holds them: a weight, perhaps a bias, and one call."""

from __future__ import annotations

from typing import Protocol

import torch.nn.functional as F
from torch import Tensor


class Linear(Protocol):
    """Maps (..., in) to (..., out)."""

    def __call__(self, x: Tensor) -> Tensor:
        """x (..., in) in the dtype of the matrices -> (..., out)."""


class Dense:
    """A linear map in the dtype of its weight, (out, in); bias (out,) or None."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight = weight
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)
