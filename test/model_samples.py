# SPDX-License-Identifier: Apache-2.0
"""Small DM0 networks and observations that the tests of the network share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from dm0_ros.model import DM0, DecoderConfig, DM0Config, VisionConfig

GOLDEN = Path(__file__).parent / "data" / "golden"
HEADS = {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
SMALL = DM0Config(
    vision=VisionConfig(image_size=56, patch_size=14, width=32, layers=1, heads=2),
    llm=DecoderConfig(vocab_size=40, hidden_size=48, intermediate_size=80, **HEADS),
    expert=DecoderConfig(vocab_size=7, hidden_size=32, intermediate_size=56, **HEADS),
    action_dim=6,
    chunk_size=5,
    bf16=False,
)


def small_model(seed: int = 0, **changes: object) -> DM0:
    """A network with random weights large enough that every input shows in the output."""
    torch.manual_seed(seed)
    model = DM0(replace(SMALL, **changes)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "gamma" in name:
                parameter.fill_(0.7)
            elif "action_out" in name:
                parameter.mul_(20)
    return model


def observation(
    batch: int = 2, views: int = 2, text: int = 7, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images, image masks, token ids and token mask, all valid."""
    generator = torch.Generator().manual_seed(seed)
    size = SMALL.vision.image_size
    return (
        torch.rand(batch, views, 3, size, size, generator=generator) * 2 - 1,
        torch.ones(batch, views, dtype=torch.bool),
        torch.randint(1, SMALL.llm.vocab_size, (batch, text), generator=generator),
        torch.ones(batch, text, dtype=torch.bool),
    )


def chunk(batch: int = 2, seed: int = 1) -> Tensor:
    """Normal noise or actions, (batch, H, D)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, SMALL.chunk_size, SMALL.action_dim, generator=generator)


@torch.no_grad()
def talkative_model() -> DM0:
    """One whose next token depends on everything before it: no token comes twice in a row."""
    model = small_model()
    model.model.llm.norm.weight.normal_(generator=torch.Generator().manual_seed(3))
    for layer in model.model.llm.layers:
        layer.self_attn.q_norm.weight.mul_(5)
        layer.self_attn.o_proj.weight.mul_(10)
    return model


def qwen_config(size: DecoderConfig, **changes):
    """A decoder's sizes as transformers says them."""
    from transformers import Qwen3Config  # takes seconds to import

    return Qwen3Config(
        vocab_size=size.vocab_size,
        hidden_size=size.hidden_size,
        intermediate_size=size.intermediate_size,
        num_hidden_layers=size.num_hidden_layers,
        num_attention_heads=size.num_attention_heads,
        num_key_value_heads=size.num_key_value_heads,
        head_dim=size.head_dim,
        rope_parameters={"rope_type": "default", "rope_theta": size.rope_theta},
        rms_norm_eps=size.rms_norm_eps,
        attn_implementation="eager",
        **changes,
    )
