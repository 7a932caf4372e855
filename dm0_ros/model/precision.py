# SPDX-License-Identifier: Apache-2.0
"""Where a number is rounded to bfloat16."""

from __future__ import annotations

import torch
from torch import Tensor


def rounds_each_step(x: Tensor) -> bool:
    """Whether what is computed from x follows the reference's roundings, one per operation.

    So it is in bfloat16, where this network is the measure of faster ones: a kernel that keeps
    float32 until its end is nearer to the truth, but not to the reference. Float32 has nothing to
    follow, and autocast, which trains, goes for speed.
    """
    return x.dtype == torch.bfloat16 and not torch.is_autocast_enabled(x.device.type)


def rounds_rope(setting: bool | None, dtype: torch.dtype) -> bool:
    """Whether rotary tables for `dtype` start from bfloat16 values: `DM0Config.rounded_rope`."""
    return dtype == torch.bfloat16 if setting is None else setting
