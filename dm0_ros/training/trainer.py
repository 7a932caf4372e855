# SPDX-License-Identifier: Apache-2.0
"""The training loop: resumable, with a running mean of the weights."""

import copy
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dm0_ros.model import DM0, PrefixCache
from dm0_ros.policy.normalisation import NormStats
from dm0_ros.policy.tokenizer import Tokenizer
from dm0_ros.training.calibration import adopt_weights, centre_picture_tokens, parameter_groups
from dm0_ros.training.dataset import Batch, Dataset
from dm0_ros.training.recipe import OptimiserSettings, Recipe

# Time of a training sample, as DM0 draws it: 0.999 Beta(1.5, 1) + 0.001.
_BETA = (1.5, 1.0)
_START_FRAMES = 64  # whose pictures set the scale of the network's start


class Trainer:
    """Trains one network. Calling `run` again after an interruption goes on where it stopped.

    ``initial`` is a checkpoint folder whose weights training starts from, instead of from noise.
    """

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        tokenizer: Tokenizer,
        stats: NormStats,
        folder: Path,
        seed: int,
        device: str = "cpu",
        initial: Path | None = None,
    ) -> None:
        self.recipe, self.settings = recipe, recipe.optimiser
        self.dataset, self.tokenizer, self.stats = dataset, tokenizer, stats
        self.folder, self.seed, self.device = folder, seed, torch.device(device)
        torch.manual_seed(seed)
        self.model = DM0(recipe.network.config()).to(self.device)
        if initial:
            adopt_weights(self.model, initial)
        else:
            start = self.dataset.held_out(_START_FRAMES, tokenizer, stats)
            centre_picture_tokens(self.model, start.images[start.image_masks].to(self.device))
        rows, hidden = self.settings.outline_rows, recipe.network.llm.hidden_size
        self.outline = torch.nn.Linear(hidden, len(rows) * recipe.network.action_dim)
        self.outline.to(self.device)
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.optimiser = torch.optim.AdamW(
            parameter_groups(
                torch.nn.ModuleList([self.model, self.outline]),
                self.settings.learning_rate,
                self.settings.weight_decay,
            ),
            betas=(0.9, 0.95),
        )
        self._half = has_fast_bfloat16(self.device)
        self.step = 0
        self.losses: list[float] = []
        self._resume()

    @property
    def _state_file(self) -> Path:
        return self.folder / "state.pt"

    def run(self, report: Callable[[int, float], None]) -> DM0:
        """Train to the recipe's last step; ``report`` gets every step and its loss.

        Returns the network with the mean weights.
        """
        while self.step < self.settings.steps:
            loss = self._train_one_step()
            self.losses.append(loss)
            self.step += 1
            if self.step % self.settings.save_every == 0 or self.step == self.settings.steps:
                self._save()
            report(self.step, loss)
        return self.average

    def _inputs(self, batch: Batch) -> tuple[torch.Tensor, ...]:
        parts = (batch.images, batch.image_masks, batch.token_ids, batch.token_mask)
        return tuple(part.to(self.device) for part in parts)

    def _train_one_step(self) -> float:
        # Each step has a generator of its own, so that a resumed run draws what it would have.
        random = np.random.default_rng([self.seed, self.step])
        batch = self.dataset.draw(random, self.settings.batch, self.tokenizer, self.stats)
        size = (len(batch.actions), self.settings.noise_samples)
        time = torch.from_numpy(0.999 * random.beta(*_BETA, size) + 0.001).float()
        shape = (*size, *batch.actions.shape[1:])
        noise = torch.from_numpy(random.standard_normal(shape, dtype=np.float32))
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.settings, self.step) * group["share"]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half):
            cache = self.model.encode_prefix(*self._inputs(batch), want_hidden=True)
            actions = batch.actions.to(self.device)
            loss, _ = self.model.flow_loss(
                *self._inputs(batch),
                actions,
                noise.to(self.device),
                time.to(self.device),
                cache=cache,
            )
            total = loss + self.settings.outline_weight * self._outline_loss(cache, actions)
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self.optimiser.step()
        self._update_average()
        return loss.item()

    def _outline_loss(self, cache: PrefixCache, actions: torch.Tensor) -> torch.Tensor:
        """Error of a few rows that a linear head foretells from the prompt's last token.

        The flow's own gradient hardly reaches the pictures at first: noise hides what they say.
        DM0 has its language model predict actions as tokens beside the flow for the same reason;
        a small network needs no vocabulary for it. The head is not part of the checkpoint.
        """
        last = cache.hidden[torch.arange(len(cache), device=self.device), cache.lengths - 1]
        foretold = self.outline(last).float()
        wanted = actions[:, list(self.settings.outline_rows)].flatten(1)
        return torch.nn.functional.mse_loss(foretold, wanted)

    @torch.no_grad()
    def _update_average(self) -> None:
        # A short memory at first: the mean should not remember the random start.
        decay = min(self.settings.average, (1 + self.step) / (10 + self.step))
        averages, weights = list(self.average.parameters()), list(self.model.parameters())
        torch._foreach_lerp_(averages, weights, 1 - decay)

    def _save(self) -> None:
        state = {
            "step": self.step,
            "losses": self.losses,
            "model": self.model.state_dict(),
            "outline": self.outline.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        unfinished = self._state_file.with_suffix(".unfinished")
        torch.save(state, unfinished)
        os.replace(unfinished, self._state_file)

    def _resume(self) -> None:
        if not self._state_file.exists():
            return
        state = torch.load(self._state_file, map_location=self.device, weights_only=True)
        self.step, self.losses = state["step"], state["losses"]
        self.model.load_state_dict(state["model"])
        self.outline.load_state_dict(state["outline"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 matrix products are faster than float32 there, in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return "avx512_bf16" in _cpu_flags() or "amx_bf16" in _cpu_flags()


def _cpu_flags() -> str:
    description = Path("/proc/cpuinfo")
    return description.read_text(encoding="utf-8") if description.exists() else ""


def learning_rate(settings: OptimiserSettings, step: int) -> float:
    """Linear warm-up, then half a cosine down to ``final_rate``."""
    warm_up = max(1, round(settings.warm_up * settings.steps))
    if step < warm_up:
        return settings.learning_rate * (step + 1) / warm_up
    part = (step - warm_up) / max(1, settings.steps - warm_up)
    cosine = (1 + math.cos(math.pi * part)) / 2
    return settings.learning_rate * (settings.final_rate + (1 - settings.final_rate) * cosine)
