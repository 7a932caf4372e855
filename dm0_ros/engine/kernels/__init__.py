# SPDX-License-Identifier: Apache-2.0
"""Triton kernels of the action expert. Optional: `available` says whether they can run here.

`expert.ExpertLayerKernels` is a `SuffixLayer`; import it only where `available` gives None.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch

OLDEST_CAPABILITY = (8, 0)  # the first with bfloat16 in its tensor cores


def available(device: torch.device) -> str | None:
    """None where the kernels can run, else the reason why not.

    On a CPU they run in Triton's interpreter alone (TRITON_INTERPRET=1), which is for tests.
    """
    if find_spec("triton") is None:
        return "Triton is not installed"
    if device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1":
        return None
    if device.type != "cuda" or torch.version.cuda is None:
        return f"the kernels are for NVIDIA GPUs, not for {device.type}"
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST_CAPABILITY:
        return f"compute capability {capability[0]}.{capability[1]} is below 8.0"
    return None
