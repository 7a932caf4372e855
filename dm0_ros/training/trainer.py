# SPDX-License-Identifier: Apache-2.0
"""The training loop: resumable, with a running mean of the weights."""

import copy
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dm0_ros.model import DM0
from dm0_ros.model.recompute import recompute_layers
from dm0_ros.policy.normalisation import NormStats
from dm0_ros.policy.tokenizer import Tokenizer
from dm0_ros.training.calibration import adopt_weights, centre_picture_tokens, parameter_groups
from dm0_ros.training.dataset import Dataset
from dm0_ros.training.objective import make_objective
from dm0_ros.training.processes import Processes, own_part
from dm0_ros.training.recipe import OptimiserSettings, Recipe

STATE = "state.pt"
"""File in the run's folder that training goes on from."""
# Time of a training sample, as DM0 draws it: 0.999 Beta(1.5, 1) + 0.001.
_BETA = (1.5, 1.0)
_START_FRAMES = 64  # whose pictures set the scale of the network's start


class Trainer:
    """Trains one network. Calling `run` again after an interruption goes on where it stopped.

    ``initial`` is a checkpoint folder whose weights training starts from, instead of from noise.
    All ``processes`` of a run make the same calls.
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
        processes: Processes | None = None,
    ) -> None:
        self.recipe, self.settings = recipe, recipe.optimiser
        self.dataset, self.tokenizer, self.stats = dataset, tokenizer, stats
        self.folder, self.seed, self.device = folder, seed, torch.device(device)
        self.processes = processes or Processes()
        self._share = self.processes.share(self.settings.batch)
        torch.manual_seed(seed)
        self.model = self._start_model(initial)
        self.average = self.model
        if self.settings.average:
            self.average = copy.deepcopy(self.model).requires_grad_(False)
            self.processes.split(self.average)
        self.objective = make_objective(self.model, recipe).to(self.device)
        self.processes.split(self.objective)
        self.optimiser = torch.optim.AdamW(
            parameter_groups(self.objective, self.settings), betas=(0.9, 0.95)
        )
        self._half = has_fast_bfloat16(self.device)
        self.step = 0
        self.losses: dict[str, list[float]] = {}
        self._resume()

    def _start_model(self, initial: Path | None) -> DM0:
        model = DM0(self.recipe.network.config()).to(self.device)
        if initial:
            adopt_weights(model, initial)
        else:
            start = self.dataset.held_out(_START_FRAMES, self.tokenizer, self.stats)
            centre_picture_tokens(model, start.images[start.image_masks].to(self.device))
        if self.settings.recompute:
            recompute_layers(model)
        return model

    @property
    def _state_file(self) -> Path:
        return self.folder / STATE

    def run(self, report: Callable[[int, dict[str, float]], None]) -> DM0:
        """Train to the recipe's last step; ``report`` gets every step and its losses by name.

        Returns the network with the mean weights.
        """
        steps = range(self.step, self.settings.steps)
        size, given = self.settings.batch, (self.tokenizer, self.stats, self._share)
        for batch, random in self.dataset.stream(steps, self.seed, size, *given):
            losses = self._train_one_step(*self._add_noise(batch, random))
            for name, loss in losses.items():
                self.losses.setdefault(name, []).append(loss)
            self.step += 1
            if self.step % self.settings.save_every == 0 or self.step == self.settings.steps:
                self._save()
            report(self.step, losses)
        return self._whole_average()

    def _train_one_step(self, batch, noise, time) -> dict[str, float]:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.settings, self.step) * group["share"]
        counts = {n: self._share_count(c) for n, c in self.objective.count(batch).items()}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half):
            losses = self.objective(batch, noise, time, counts)
            total = sum(self.objective.weights[name] * loss for name, loss in losses.items())
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self.optimiser.step()
        self._update_average()
        told = self.processes.add(torch.stack([loss.detach() for loss in losses.values()]))
        return dict(zip(losses, (told / self.processes.count).tolist(), strict=True))

    def _share_count(self, count: torch.Tensor) -> torch.Tensor:
        """What this process divides by, ``count`` of whose samples count.

        Shares have different numbers of them, but the mean of the processes' gradients is that of
        one process if all divide by their mean, be it less than one.
        """
        return self.processes.add(count).clamp(min=1) / self.processes.count

    def _add_noise(self, batch, random: np.random.Generator):
        """A batch with noises and times, drawn for all processes, of which each takes its own."""
        each = len(batch.actions) // len(batch.images)
        size = (self.settings.batch, each, self.settings.noise_samples)
        time = torch.from_numpy(0.999 * random.beta(*_BETA, size) + 0.001).float()
        shape = (*size, *batch.actions.shape[1:])
        noise = torch.from_numpy(random.standard_normal(shape, dtype=np.float32))
        own = (part[self._share].flatten(0, 1) for part in (noise, time))
        return tuple(part.to(self.device) for part in (batch, *own))

    @torch.no_grad()
    def _update_average(self) -> None:
        if self.average is self.model:
            return
        # A short memory at first: the mean should not remember the random start.
        decay = min(self.settings.average, (1 + self.step) / (10 + self.step))
        averages, weights = (
            [own_part(parameter) for parameter in network.parameters()]
            for network in (self.average, self.model)
        )
        torch._foreach_lerp_(averages, weights, 1 - decay)

    def _whole_average(self) -> DM0:
        if self.processes.count == 1:
            return self.average
        whole = DM0(self.recipe.network.config())
        whole.load_state_dict(self.processes.gather(self.average.state_dict()))
        return whole

    def _modules(self) -> dict[str, torch.nn.Module]:
        """What is saved beside the optimiser's state."""
        modules = {"objective": self.objective}
        return modules if self.average is self.model else modules | {"average": self.average}

    def _save(self) -> None:
        state = {name: module.state_dict() for name, module in self._modules().items()}
        state["optimiser"] = self.optimiser.state_dict()
        state = self.processes.gather(state)
        if self.processes.leads:
            state |= {"step": self.step, "losses": self.losses}
            unfinished = self._state_file.with_suffix(".unfinished")
            with open(unfinished, "wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, self._state_file)

    def _resume(self) -> None:
        if not self._state_file.exists():
            return
        state = torch.load(self._state_file, map_location=self.device, weights_only=True)
        self.step, self.losses = state["step"], state["losses"]
        for name, module in self._modules().items():
            part = self.processes.scatter(state[name], module.state_dict())
            module.load_state_dict(part)
        self.processes.load_optimiser(self.optimiser, state["optimiser"])


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
