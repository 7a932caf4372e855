# SPDX-License-Identifier: Apache-2.0
"""Networks to measure: of full size with random weights, tiny, the shipped one, or a checkpoint.

Random weights are made on the device that uses them: ten gigabytes never pass through the host.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from dm0_ros.errors import CheckpointError
from dm0_ros.model import DM0, DecoderConfig, DM0Config, VisionConfig
from dm0_ros.model.checkpoint import FLOAT32
from dm0_ros.model.config import NAMED_TOWERS
from dm0_ros.resources import find_resource

_HEADS = {"num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8}
# More layers than 8-bit products leave alone.
_FEW = {"num_hidden_layers": 5, "num_attention_heads": 4, "num_key_value_heads": 2}
RANDOM = {
    # The public checkpoints (facts: dm0_model.md, A.3).
    "full": DM0Config(
        vision=NAMED_TOWERS["pe_lang_l14_728"],
        llm=DecoderConfig(152_701, 2048, 6144, head_dim=128, **_HEADS),
        expert=DecoderConfig(151_936, 1024, 1536, head_dim=128, **_HEADS),
    ),
    "tiny": DM0Config(
        vision=VisionConfig(image_size=56, patch_size=14, width=32, layers=5, heads=2),
        llm=DecoderConfig(64, 48, 80, head_dim=16, **_FEW),
        expert=DecoderConfig(64, 32, 56, head_dim=16, **_FEW),
        action_dim=8,
        chunk_size=10,
    ),
}
SHIPPED = {"nano": "nano-franka"}


def load_network(
    size: str, device: torch.device, seed: int = 0, rounded_rope: bool | None = None
) -> DM0:
    """A float32 network by the name of its size, or of a checkpoint folder.

    `rounded_rope` as in `DM0Config`: float32 can be the oracle of bfloat16 only with its tables.

    Random weights have only values that bfloat16 has, too, so that one network is the oracle of
    both dtypes.

    Raises:
        CheckpointError: there is no such size or folder.
    """
    if size in RANDOM:
        return make_random(replace(RANDOM[size], rounded_rope=rounded_rope), device, seed)
    folder = find_resource("checkpoints", SHIPPED[size]) if size in SHIPPED else Path(size)
    if not folder.is_dir():
        known = ", ".join([*RANDOM, *SHIPPED])
        raise CheckpointError(f"no size or checkpoint folder '{size}'; the sizes are: {known}")
    model = DM0.from_pretrained(folder, torch.float32, device)
    if rounded_rope is None:
        return model
    return _rebuild(model, replace(model.config, rounded_rope=rounded_rope), model.state_dict())


@torch.no_grad()
def make_random(config: DM0Config, device: torch.device, seed: int = 0) -> DM0:
    """A network in which every weight shows in the actions, and nothing grows with depth.

    The initialisation for training keeps the scale of activations at any width and depth; but its
    norms are all ones and its velocity is nearly zero, which hides a wrong fold or a wrong sign.
    And attention that is nearly even averages pictures away: here it is sharper, and the expert
    listens to it, so that pictures move the actions by a tenth to a fifth.
    """
    torch.manual_seed(seed)
    with torch.device(device):
        model = DM0(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("action_out_proj.weight"):
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
        elif parameter.ndim == 1:
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
        if name.endswith("q_norm.weight") or ("expert" in name and name.endswith("o_proj.weight")):
            parameter.mul_(2)
        parameter.copy_(parameter.bfloat16())
    return model.requires_grad_(False)


def cast(model: DM0, dtype: torch.dtype) -> DM0:
    """The same weights with the matrices in `dtype`; the model itself where nothing changes."""
    if dtype == torch.float32:
        return model
    state = {
        name: tensor if FLOAT32.fullmatch(name) else tensor.to(dtype)
        for name, tensor in model.state_dict().items()
    }
    return _rebuild(model, model.config, state)


def _rebuild(model: DM0, config: DM0Config, state: dict[str, Tensor]) -> DM0:
    with torch.device("meta"):
        other = type(model)(config)
    other.load_state_dict(state, assign=True)
    return other.eval().requires_grad_(False)
