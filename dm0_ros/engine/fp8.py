# SPDX-License-Identifier: Apache-2.0
"""Linear maps with 8-bit weights and activations (e4m3), and which of them may be used where.

A row of activations and a row of weights each have a scale of their own: the largest value of the
row becomes the largest number of the format. Weights are scaled once, activations at every call.
Where the device has no such product it is emulated, slowly, with the same rounding, so that what
8 bits do to the actions can be measured anywhere.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

from dm0_ros.engine.trials import first_line
from dm0_ros.engine.weights import BlockWeights, LayerWeights
from dm0_ros.errors import Dm0Error

FORMAT = torch.float8_e4m3fn
LARGEST = torch.finfo(FORMAT).max  # 448
SMALLEST_SCALE = torch.finfo(torch.float32).tiny
GRANULE = 16
"""Both sides of a weight must be a multiple of this for the tensor cores."""
OLDEST_GPU = (8, 9)
"""Compute capability from which on GPUs multiply e4m3."""

CONVERTED = {BlockWeights: ("qkv", "up", "down"), LayerWeights: ("qkv", "gate_up", "down")}
"""Maps of a layer that may be 8-bit. All others stay as they are: the outputs of attention, which
are too small to gain, patches and convolutions, projector, action expert, embeddings and heads."""
KEPT_AT_ENDS = 2
"""First and last layers of a stack whose rounding shows most, and which stay as they are."""

Layer = TypeVar("Layer", BlockWeights, LayerWeights)


class Fp8Error(Dm0Error):
    """A linear map cannot be 8-bit."""


def choose_layers(layers: int) -> range:
    """Indices of those layers of a stack, of the vision tower or the LLM, that may be 8-bit."""
    return range(KEPT_AT_ENDS, max(layers - KEPT_AT_ENDS, KEPT_AT_ENDS))


def convert_layers(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """The stack with 8-bit maps where they may be. Raises `Fp8Error` for maps of other sizes."""
    converted = list(layers)
    for index in choose_layers(len(layers)):
        maps = {name: getattr(layers[index], name) for name in CONVERTED[type(layers[index])]}
        maps = {name: Fp8Linear.from_dense(old.weight, old.bias) for name, old in maps.items()}
        converted[index] = replace(layers[index], **maps)
    return tuple(converted)


def quantise_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """x (..., K) -> (e4m3 (..., K), float32 scale (..., 1)), with x = e4m3 * scale, nearly.

    A row of zeros stays zero. A row with NaN or infinity contains NaN afterwards, also where the
    conversion to e4m3 would clip infinity. Plain operations, so that a compiler merges them with
    the norm before.
    """
    wide = x.float()
    scale = (wide.abs().amax(-1, keepdim=True) / LARGEST).clamp(min=SMALLEST_SCALE)
    return (wide / scale).to(FORMAT), scale


class Fp8Linear:
    """A linear map like `Dense`; rounds its result to bfloat16 and gives the dtype of its input.

    Attributes:
        weight: e4m3 (out, in). scale: float32 (1, out). bias: bfloat16 (out,), or None.
    """

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        self.weight = weight
        self.scale = scale
        self.bias = bias
        self._multiply = _emulate if available(weight.device) else _multiply

    @classmethod
    @torch.no_grad()
    def from_dense(cls, weight: Tensor, bias: Tensor | None = None) -> Fp8Linear:
        """Of weight (out, in) and bias (out,); raises `Fp8Error` where a side does not fit."""
        if weight.shape[0] % GRANULE or weight.shape[1] % GRANULE:
            raise Fp8Error(
                f"a linear map of {tuple(weight.shape)} cannot be 8-bit: both sides must be "
                f"multiples of {GRANULE}; turn fp8 off"
            )
        rounded, scale = quantise_rows(weight)
        kept = None if bias is None else bias.to(torch.bfloat16)
        return cls(rounded, scale.t().contiguous(), kept)

    def __call__(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        rows, scale = quantise_rows(x.reshape(-1, x.shape[-1]))
        product = self._multiply(rows, scale, self.weight, self.scale, self.bias)
        return product.view(*x.shape[:-1], -1).to(x.dtype)


def available(device: torch.device) -> str | None:
    """Why `device` cannot multiply e4m3 by rows, or None if it can. Waits for the device."""
    if device.type != "cuda" or torch.version.cuda is None:
        return f"8-bit products need an NVIDIA GPU, not {device.type}"
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST_GPU:
        oldest, found = (".".join(map(str, pair)) for pair in (OLDEST_GPU, capability))
        return f"8-bit products need compute capability {oldest}, this GPU has {found}"
    index = torch.cuda.current_device() if device.index is None else device.index
    return _try_product(torch.device("cuda", index))


@cache
def _try_product(device: torch.device) -> str | None:
    ones = torch.ones(GRANULE, GRANULE, device=device)
    rounded, scale = quantise_rows(ones)
    bias = torch.ones(GRANULE, dtype=torch.bfloat16, device=device)
    try:
        product = _multiply(rounded, scale, rounded, scale.t(), bias)
    except (RuntimeError, ValueError, TypeError) as error:
        return f"this torch does not multiply e4m3 by rows here: {first_line(error)}"
    if bool((product != GRANULE + 1).any()):
        return "this torch multiplies e4m3 wrongly here"
    return None


def _multiply(
    rows: Tensor, row_scale: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None
) -> Tensor:
    """rows (M, in) and weight (out, in), e4m3, with scales (M, 1) and (1, out) -> (M, out)."""
    return torch._scaled_mm(
        rows, weight.t(), scale_a=row_scale, scale_b=weight_scale, bias=bias,
        out_dtype=torch.bfloat16, use_fast_accum=True,
    )  # fmt: skip


def _emulate(
    rows: Tensor, row_scale: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None
) -> Tensor:
    """Like `_multiply`. TF32 would do no harm: it holds every number of the format."""
    product = (rows.float() @ weight.float().t()) * row_scale * weight_scale
    return (product if bias is None else product + bias).to(torch.bfloat16)
