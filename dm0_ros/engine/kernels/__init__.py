# SPDX-License-Identifier: Apache-2.0
"""Triton kernels of the action expert. Optional: `refusal` says whether they can run.

`expert.ExpertLayerKernels` is a `SuffixLayer`; import it only where `refusal` gives None.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch

from dm0_ros.engine.kernels.tiles import LayerShape
from dm0_ros.engine.weights import LayerWeights

OLDEST_CAPABILITY = (8, 0)  # the first with bfloat16 in its tensor cores


def refusal(weights: LayerWeights) -> str | None:
    """Why the kernels cannot run a layer with such weights where these are; None if they can.

    On a CPU they run in Triton's interpreter alone (TRITON_INTERPRET=1), which is for tests.
    """
    try:
        shape = LayerShape.of(weights, batch=1, count=1)
    except ValueError as error:
        return str(error)
    if find_spec("triton") is None:
        return "Triton is not installed"
    device = weights.qkv.weight.device
    if device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1":
        return None
    if device.type != "cuda" or torch.version.cuda is None:
        return f"the kernels are for NVIDIA GPUs, not for {device.type}"
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST_CAPABILITY:
        return f"compute capability {capability[0]}.{capability[1]} is below 8.0"
    if shape.dtype == torch.float32:
        return "float32 matrices have no use for tensor cores"
    return None
