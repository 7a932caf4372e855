# SPDX-License-Identifier: Apache-2.0
"""Recorded frames as batches for the network."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dm0_ros.policy.actions import encode_actions, to_differences
from dm0_ros.policy.normalisation import NormStats, compute_stats
from dm0_ros.policy.prompt import encode_prompt
from dm0_ros.policy.tokenizer import Tokenizer
from dm0_ros.robots import load_robot
from dm0_ros.sim.world import World, load_world
from dm0_ros.training.recipe import Recipe

_HELD_OUT = 0.02  # share of the frames, the last ones, that training never sees


@dataclass(frozen=True)
class Batch:
    """F frames with V views; for each, one sample per object that could be named: B in all.

    A frame's samples differ in nothing but the sentence and the plan, so that their gradient is
    about what the sentence means. T is text tokens, H rows, D columns.
    """

    images: torch.Tensor  # (F, V, 3, S, S) float32 in [-1, 1]
    image_masks: torch.Tensor  # (F, V) bool
    token_ids: torch.Tensor  # (B, T); a frame's samples follow each other
    token_mask: torch.Tensor  # (B, T) bool
    actions: torch.Tensor  # (B, H, D) normalised


class Dataset:
    """Frames of a recording, and the sentences that ask for their plans."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.recipe = recipe
        robot = load_robot(recipe.robot)
        self.layout = robot.layout(recipe.layout)
        self._seen = torch.tensor([slot not in recipe.masked_slots for slot in robot.camera_slots])
        self.world: World = load_world(recipe.world)
        self._wordings = self.world.task(recipe.task).instructions.training
        self._pictures = np.load(folder / "pictures.npy", mmap_mode="r")
        self._states = np.load(folder / "states.npy")
        self._rows = np.load(folder / "rows.npy", mmap_mode="r")
        # Whole episodes are held out: frames of one episode look alike.
        held_out = int(recipe.data.episodes * _HELD_OUT) or 1
        self.train_size = (recipe.data.episodes - held_out) * recipe.data.frames
        self.size = len(self._states)
        if self.train_size <= 0:
            raise ValueError("a recording needs two episodes or more: one is held out")

    def sentences(self) -> list[str]:
        """Every training sentence about every object."""
        names = self.world.object_names
        return [wording.format(object=name) for wording in self._wordings for name in names]

    def stats(self) -> NormStats:
        """Statistics of the training frames' differences and states."""
        frames = slice(0, self.train_size)
        states = self._states[frames]
        rows = np.asarray(self._rows[frames])
        differences = to_differences(rows, states[:, None], self.layout)
        return compute_stats(
            differences, self.layout.to_data(states), self.recipe.network.action_dim
        )

    def draw(
        self, random: np.random.Generator, size: int, tokenizer: Tokenizer, stats: NormStats
    ) -> Batch:
        """Samples of ``size`` random training frames, each sentence in a random wording."""
        frames = np.sort(random.integers(self.train_size, size=size))
        return self._batch(frames, random, tokenizer, stats)

    def held_out(self, count: int, tokenizer: Tokenizer, stats: NormStats) -> Batch:
        """Samples of the same ``count`` unseen frames at every call."""
        frames = np.linspace(self.train_size, self.size - 1, count).astype(int)
        return self._batch(frames, np.random.default_rng(0), tokenizer, stats)

    def _batch(self, frames, random, tokenizer: Tokenizer, stats: NormStats) -> Batch:
        recipe, names = self.recipe, self.world.object_names
        wordings = random.choice(self._wordings, (len(frames), len(names)))
        prompts = [
            encode_prompt(tokenizer, str(wording).format(object=name), recipe.max_text_tokens)
            for row in wordings
            for wording, name in zip(row, names, strict=True)
        ]
        ids, masks = (np.stack(part) for part in zip(*prompts, strict=True))
        pictures = torch.from_numpy(self._pictures[frames]).permute(0, 1, 4, 2, 3)
        actions = encode_actions(
            self._rows[frames],
            self._states[frames][:, None],
            self.layout,
            stats,
            recipe.normalisation,
        )
        return Batch(
            images=pictures.float().div_(127.5).sub_(1.0),
            image_masks=self._seen.expand(pictures.shape[:2]),
            token_ids=torch.from_numpy(ids),
            token_mask=torch.from_numpy(masks),
            actions=torch.from_numpy(actions).flatten(0, 1),
        )
