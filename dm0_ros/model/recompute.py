# SPDX-License-Identifier: Apache-2.0
"""Gradient checkpointing: layers are computed again in the backward pass, not remembered.

It costs about one more forward pass, and saves the activations inside of all layers but one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute_layers(model: nn.Module) -> None:
    """From now on the layers of every stack in ``model`` are recomputed when it is trained.

    A stack is a module with the attribute `recompute`: both decoders, and the vision tower.
    """
    for module in model.modules():
        if hasattr(module, "recompute"):
            module.recompute = True


def run_layer(recompute: bool, layer: nn.Module, *inputs: Any) -> Any:
    """``layer(*inputs)``, remembering but the inputs where ``recompute`` says so.

    No layer draws numbers, so that the second pass needs no generator's state.
    """
    if recompute and torch.is_grad_enabled():
        return checkpoint(layer, *inputs, use_reentrant=False, preserve_rng_state=False)
    return layer(*inputs)
