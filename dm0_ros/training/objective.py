# SPDX-License-Identifier: Apache-2.0
"""What a network is trained for: its losses on a batch, by name, and their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from dm0_ros.model import DM0
from dm0_ros.training.dataset import Batch
from dm0_ros.training.losses import HybridBatch, SampleLosses, hybrid_losses, last_of_prompt
from dm0_ros.training.recipe import Recipe


class Objective(Protocol):
    """A module that holds the network and whatever is trained with it."""

    weights: Mapping[str, float]

    def count(self, batch: Batch | HybridBatch) -> dict[str, Tensor]:
        """How many samples count for the losses that not every sample counts for."""

    def __call__(
        self, batch: Batch | HybridBatch, noise: Tensor, time: Tensor, counts: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Losses by name, scalars; as `hybrid_losses`. ``counts`` are what to divide by."""


def make_objective(model: DM0, recipe: Recipe) -> ActionObjective | HybridObjective:
    """The one that a recipe asks for."""
    kind = HybridObjective if recipe.teaching else ActionObjective
    return kind(model, recipe)


class Outline(nn.Linear):
    """A few rows of the chunk, foretold by a linear head from the prompt's last token.

    The flow's own gradient hardly reaches the pictures at first: noise hides what they say.
    DM0 has its language model predict actions as tokens beside the flow for the same reason;
    a small network needs no vocabulary for it. The head is not part of the checkpoint.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.rows = list(recipe.optimiser.outline_rows)
        columns = recipe.network.action_dim
        super().__init__(recipe.network.llm.hidden_size, len(self.rows) * columns)

    def compare(self, last: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """What is foretold from ``last`` (B, hidden), and what is wanted: (B, rows * D)."""
        return self(last).float(), actions[:, self.rows].flatten(1)


class ActionObjective(nn.Module):
    """Flow matching, and the outline where the recipe has rows for it."""

    def __init__(self, model: DM0, recipe: Recipe) -> None:
        super().__init__()
        self.model = model
        self.outline = Outline(recipe) if recipe.optimiser.outline_rows else None
        self.weights = {"flow": 1.0, "outline": recipe.optimiser.outline_weight}

    def count(self, _batch: Batch) -> dict[str, Tensor]:
        """Every sample counts."""
        return {}

    def forward(
        self, batch: Batch, noise: Tensor, time: Tensor, _counts: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """See `Objective`."""
        inputs = (batch.images, batch.image_masks, batch.token_ids, batch.token_mask)
        cache = self.model.encode_prefix(*inputs, want_hidden=True)
        flow, _ = self.model.flow_loss(*inputs, batch.actions, noise, time, cache=cache)
        if self.outline is None:
            return {"flow": flow}
        last = cache.hidden[torch.arange(len(cache), device=flow.device), cache.lengths - 1]
        foretold, wanted = self.outline.compare(last, batch.actions)
        return {"flow": flow, "outline": nn.functional.mse_loss(foretold, wanted)}


class HybridObjective(nn.Module):
    """Text and flow, and the outline where the recipe has rows for it.

    The outline is what teaches the language model about actions where no text does.
    """

    def __init__(self, model: DM0, recipe: Recipe) -> None:
        super().__init__()
        self.model = model
        self.outline = Outline(recipe) if recipe.optimiser.outline_rows else None
        teaching = recipe.teaching
        self.decouple = teaching.decouple
        self.weights = {
            "text": teaching.text_weight,
            "flow": 1.0,
            "progress": teaching.progress_weight,
            "outline": recipe.optimiser.outline_weight,
        }

    def count(self, batch: HybridBatch) -> dict[str, Tensor]:
        """Samples with text, and those with actions."""
        acted = batch.acted.sum()
        text = batch.learnt.any(1).sum()
        return {"text": text, "flow": acted, "progress": acted, "outline": acted}

    def forward(
        self, batch: HybridBatch, noise: Tensor, time: Tensor, counts: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """See `Objective`."""
        losses = hybrid_losses(self.model, batch, noise, time, self.decouple)
        parts = losses.parts()
        if self.outline is not None:
            last = last_of_prompt(batch, losses.cache)
            foretold, wanted = self.outline.compare(last, batch.actions)
            errors = (foretold - wanted).square().mean(1)
            parts["outline"] = SampleLosses(errors * batch.acted, batch.acted)
        return {name: part.mean(counts[name]) for name, part in parts.items()}
