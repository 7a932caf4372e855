# SPDX-License-Identifier: Apache-2.0
"""The choice between kernels for attention, by timing.

Which one is fastest depends on the device, on the versions of torch and cuDNN, and on the shape,
so nothing is presumed: every candidate that runs and gives the right numbers is timed on the
shape that it would serve. The candidates are in `attention_kernels`.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from dm0_ros.engine.attention_kernels import (
    CANDIDATES,
    PACKAGES,
    Attend,
    AttentionError,
    attend_by_products,
)
from dm0_ros.engine.trials import first_line, time_fairly

LARGEST_ERROR = {torch.float32: 2e-3, torch.bfloat16: 1e-2, torch.float16: 4e-3}
"""Relative to float64. Float32 has room for TF32, which is the caller's to allow."""
CHECKED_ROWS = 64
LARGEST_SCORES = 2**26
"""Elements of the matrix of queries by keys, beyond which kernels that store it are not tried."""
TIE = 1.05
"""Of candidates whose times differ by less, the first wins: two runs then rarely choose apart."""


@dataclass(frozen=True)
class AttentionShape:
    """What a kernel has to serve; `masked` and `causal` exclude each other."""

    batch: int
    heads: int
    kv_heads: int
    queries: int
    keys: int
    head_dim: int
    masked: bool = False
    causal: bool = False

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise AttentionError(f"{self.heads} heads cannot share {self.kv_heads} key heads")
        if self.causal and (self.masked or self.queries != self.keys):
            raise AttentionError(f"{self}: causal is for as many queries as keys and no mask")


@dataclass(frozen=True)
class Choice:
    """The fastest kernel for a shape, the time a call of each took, and why others are out."""

    name: str
    attend: Attend
    milliseconds: dict[str, float]
    refused: dict[str, str]


@torch.no_grad()
def choose(
    shape: AttentionShape, dtype: torch.dtype, device: torch.device, only: str | None = None
) -> Choice:
    """Time the candidates on random data of `shape` and take the fastest; about half a second.

    `only` names the one candidate to use. Raises `AttentionError` when it is unknown or unusable.
    """
    if only is not None and only not in CANDIDATES:
        raise AttentionError(f"attention '{only}' is unknown; known: {', '.join(CANDIDATES)}")
    inputs = _draw_inputs(shape, dtype, device)
    rows = torch.linspace(0, shape.queries - 1, min(CHECKED_ROWS, shape.queries)).long()
    rows = rows.to(device)
    truth = _attend_exactly(*inputs, shape.causal, rows)
    actions: dict[str, Callable[[], Tensor]] = {}
    refused: dict[str, str] = {}
    for name in CANDIDATES if only is None else [only]:
        action = partial(CANDIDATES[name], *inputs, causal=shape.causal)
        reason = _find_obstacle(name, shape, dtype, device)
        if only is None and reason is None:
            reason = _find_waste(name, shape, device)
        reason = reason or _try(action, rows, truth)
        if reason is None:
            actions[name] = action
        else:
            refused[name] = reason
    milliseconds, failed = time_fairly(actions, device)
    refused.update(failed)
    if device.type == "cuda":
        torch.cuda.empty_cache()  # some candidates needed gigabytes
    if not milliseconds:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise AttentionError(f"no attention for {shape} in {dtype} on {device}: {reasons}")
    limit = TIE * min(milliseconds.values())
    best = next(name for name, time in milliseconds.items() if time <= limit)
    return Choice(best, CANDIDATES[best], milliseconds, refused)


def _draw_inputs(
    shape: AttentionShape, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    generator = torch.Generator(device).manual_seed(0)

    def draw(heads: int, rows: int) -> Tensor:
        size = (shape.batch, heads, rows, shape.head_dim)
        return torch.randn(size, generator=generator, device=device).to(dtype)

    mask = None
    if shape.masked:
        mask = torch.ones(shape.batch, 1, 1, shape.keys, dtype=torch.bool, device=device)
        mask[..., shape.keys // 2 : shape.keys // 2 + shape.keys // 8] = False
    return (
        draw(shape.heads, shape.queries),
        draw(shape.kv_heads, shape.keys),
        draw(shape.kv_heads, shape.keys),
        mask,
    )


def _attend_exactly(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, rows: Tensor
) -> Tensor:
    """Some rows of the result in float64, which no setting of torch makes less exact."""
    if causal:
        mask = torch.arange(key.shape[2], device=rows.device) <= rows[:, None]
    return attend_by_products(query[:, :, rows].double(), key.double(), value.double(), mask)


def _find_obstacle(
    name: str, shape: AttentionShape, dtype: torch.dtype, device: torch.device
) -> str | None:
    """Why a candidate need not even be tried."""
    if name == "float32" and (dtype == torch.float32 or device.type != "cpu"):
        return "is for CPUs, from another dtype"
    if name in ("cudnn", "efficient", *PACKAGES) and device.type != "cuda":
        return f"needs an NVIDIA GPU, not {device.type}"
    if name not in PACKAGES:
        return None
    if dtype not in (torch.bfloat16, torch.float16):
        return f"knows bfloat16 and float16, not {dtype}"
    if shape.masked:
        return "takes no mask"
    try:
        importlib.import_module(PACKAGES[name])
    except (ImportError, OSError) as error:
        return f"package {PACKAGES[name]} cannot be imported: {first_line(error)}"
    return None


def _find_waste(name: str, shape: AttentionShape, device: torch.device) -> str | None:
    """Why a candidate that would run need not be timed."""
    if name == "flash" and device.type == "cpu":
        return "is what default takes on a CPU"
    scores = shape.batch * shape.heads * shape.queries * shape.keys
    if name in ("math", "products") and scores > LARGEST_SCORES:
        return f"would store a matrix of {scores:.1e} scores"
    return None


def _try(action: Callable[[], Tensor], rows: Tensor, truth: Tensor) -> str | None:
    """Why a candidate's answer cannot be used. cuDNN and others plan ahead in this first call."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")  # torch explains there why a kernel does not fit
        try:
            mixed = action()
        except Exception as error:  # of whatever kind a package may raise: others can do the work
            return "; ".join([first_line(error), *(str(one.message) for one in said)])
    error = float((mixed[:, :, rows].double() - truth).norm() / truth.norm())
    limit = LARGEST_ERROR[mixed.dtype]
    if not error <= limit:
        return f"is wrong: error {error:.1e} relative to float64, more than {limit:.0e}"
    return None
