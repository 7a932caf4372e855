# SPDX-License-Identifier: Apache-2.0
"""How many parameters each part of a DM0 has."""

from __future__ import annotations

import torch

from dm0_ros.model.config import DM0Config
from dm0_ros.model.dm0 import DM0

PARTS = (
    ("convolutions", "model.mm_vision_tower.vision_tower.vit_downsampler"),
    ("vision", "model.mm_vision_tower."),
    ("projector", "model.mm_projector."),
    ("llm", "model.llm."),
    ("expert", "model.action_expert."),
    ("action heads", "model.action_"),
    ("progress heads", "model.progress_"),
)


def count_parameters(model: DM0 | DM0Config) -> dict[str, int]:
    """Parameters by part, and their `total`. A config is counted without taking memory."""
    if isinstance(model, DM0Config):
        with torch.device("meta"):
            model = DM0(model)
    sizes = {part: 0 for part, _ in PARTS}
    for name, parameter in model.named_parameters():
        part = next(part for part, start in PARTS if name.startswith(start))
        sizes[part] += parameter.numel()
    return {**sizes, "total": sum(sizes.values())}
