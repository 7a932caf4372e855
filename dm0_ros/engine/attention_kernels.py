# SPDX-License-Identifier: Apache-2.0
"""Many ways to compute scaled dot-product attention, all called alike: see `CANDIDATES`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from dm0_ros.errors import Dm0Error


class AttentionError(Dm0Error):
    """A kernel for attention was asked for that does not exist or cannot run here."""


class Attend(Protocol):
    """Mixes values by the likeness of queries and keys."""

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """query (B, heads, L, d), key and value (B, kv heads, S, d) -> (B, heads, L, d).

        Query heads share the key heads in order, an equal number each. `mask`, bool and broadcast
        to (B, heads, L, S), is True where a key may be seen. `causal` is for L = S without mask.
        """


def attend_with(
    backend: SDPBackend | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    causal: bool = False,
) -> Tensor:
    """torch's attention by one backend, or by its own choice. See `Attend`."""
    grouped = query.shape[1] != key.shape[1]
    fused = mask is None and query.dtype != torch.float32
    if grouped and query.device.type != "cpu" and not fused:
        # With a mask or in float32, torch would answer a grouped call with its slowest kernel and
        # say nothing; on a CPU its fast kernel knows groups.
        key, value = _repeat_heads(query, key, value)
        grouped = False
    arguments = (query, key, value, mask, 0.0, causal)
    if backend is None:
        return F.scaled_dot_product_attention(*arguments, enable_gqa=grouped)
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(*arguments, enable_gqa=grouped)


def attend_efficiently(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    causal: bool = False,
) -> Tensor:
    """torch's memory-efficient kernel, which knows no groups. See `Attend`."""
    key, value = _repeat_heads(query, key, value)
    return attend_with(SDPBackend.EFFICIENT_ATTENTION, query, key, value, mask, causal)


def attend_by_products(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    causal: bool = False,
) -> Tensor:
    """Two matrix products around a softmax; good where matrices are small. See `Attend`."""
    key, value = _repeat_heads(query, key, value)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if causal:
        mask = scores.new_ones(scores.shape[-2:], dtype=torch.bool).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1) @ value


def attend_in_float32(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    causal: bool = False,
) -> Tensor:
    """torch's own choice after a conversion, as CPUs are slow in bfloat16. See `Attend`."""
    wide = (query.float(), key.float(), value.float())
    return attend_with(None, *wide, mask, causal).to(value.dtype)


def attend_by_package(
    package: str,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    causal: bool = False,
) -> Tensor:
    """A package of the flash-attn family, which has (B, L, heads, d). See `Attend`."""
    if mask is not None:
        raise AttentionError(f"{package} takes no mask")
    rows = (part.transpose(1, 2) for part in (query, key, value))
    return _call_package(package, *rows, causal).transpose(1, 2)


@torch.library.custom_op("dm0_ros::flash_attention", mutates_args=())
def _call_package(package: str, query: Tensor, key: Tensor, value: Tensor, causal: bool) -> Tensor:
    # An operator of our own: torch.compile takes it as it is instead of looking inside.
    mixed = importlib.import_module(package).flash_attn_func(query, key, value, causal=causal)
    # Some versions give the sums of the softmax too.
    return mixed[0] if isinstance(mixed, tuple) else mixed


@_call_package.register_fake
def _(package: str, query: Tensor, key: Tensor, value: Tensor, causal: bool) -> Tensor:
    return query.new_empty(query.shape)


PACKAGES = {"flash-attn-2": "flash_attn", "flash-attn-3": "flash_attn_interface"}
"""Candidates that are packages of their own."""
CANDIDATES: Mapping[str, Attend] = {
    "default": partial(attend_with, None),
    "flash": partial(attend_with, SDPBackend.FLASH_ATTENTION),
    "cudnn": partial(attend_with, SDPBackend.CUDNN_ATTENTION),
    "efficient": attend_efficiently,
    "math": partial(attend_with, SDPBackend.MATH),
    "products": attend_by_products,
    "float32": attend_in_float32,
    **{name: partial(attend_by_package, package) for name, package in PACKAGES.items()},
}
"""By name. `math` is torch's own plain kernel, `default` is whatever torch picks."""


def _repeat_heads(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    times = query.shape[1] // key.shape[1]
    if times == 1:
        return key, value
    return key.repeat_interleave(times, 1), value.repeat_interleave(times, 1)
