# SPDX-License-Identifier: Apache-2.0
"""Recorded frames as batches for the network, whatever robot they are of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import torch

from dm0_ros.policy.actions import encode_actions, to_differences
from dm0_ros.policy.normalisation import NormStats, compute_stats
from dm0_ros.policy.prompt import encode_prompt
from dm0_ros.policy.tokenizer import Tokenizer
from dm0_ros.robots import load_robot
from dm0_ros.training.recipe import Recipe, RecipeError

_HELD_OUT = 0.02  # share of the frames, the last ones, that training never sees
_ALL = slice(None)


@dataclass(frozen=True, eq=False)
class Recording:
    """F frames with V views, and a plan for each of O objects that a sentence could name.

    S is the number of the layout's state columns, H that of rows, C that of columns.
    """

    pictures: np.ndarray  # (F, V, P, P, 3) uint8
    states: np.ndarray  # (F, S) rad and m
    rows: np.ndarray  # (F, O, H, C) rad and m, or m/s and rad/s
    objects: Sequence[str]
    wordings: Sequence[str]  # sentences with {object} in them
    together: int = 1  # frames in a row that look alike: they are held out together
    # What `Annotator` says of the frames: (F, O, ...) by name; empty where nothing was asked.
    annotations: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """F frames with V views; for each, one sample per object that could be named: B in all.

    A frame's samples differ in nothing but the sentence and the plan, so that their gradient is
    about what the sentence means. T is text tokens, H rows, D columns.
    """

    images: torch.Tensor  # (F, V, 3, P, P) float32 in [-1, 1]
    image_masks: torch.Tensor  # (F, V) bool
    token_ids: torch.Tensor  # (B, T); a frame's samples follow each other
    token_mask: torch.Tensor  # (B, T) bool
    actions: torch.Tensor  # (B, H, D) normalised

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return Batch(*(getattr(self, field.name).to(device) for field in fields(self)))


class Dataset:
    """Frames of a recording, and the sentences that ask for their plans.

    The layout is the recipe's. Raises `RecipeError` where nothing is left when some is held out.
    """

    def __init__(self, recipe: Recipe, recording: Recording) -> None:
        self.recipe, self.recording = recipe, recording
        robot = load_robot(recipe.robot)
        self.layout = robot.layout(recipe.layout)
        self._seen = torch.tensor([slot not in recipe.masked_slots for slot in robot.camera_slots])
        self.size = len(recording.states)
        groups = self.size // recording.together
        self.train_size = (groups - max(1, int(groups * _HELD_OUT))) * recording.together
        if self.train_size <= 0:
            raise RecipeError(
                f"{recipe.name}: some of what is recorded is held out of training; "
                "record two episodes or more, of a base two frames"
            )

    def sentences(self) -> list[str]:
        """Every training sentence about every object."""
        names, wordings = self.recording.objects, self.recording.wordings
        return [wording.format(object=name) for wording in wordings for name in names]

    def stats(self) -> NormStats:
        """Statistics of the training frames' differences and states."""
        states = self.recording.states[: self.train_size]
        rows = np.asarray(self.recording.rows[: self.train_size])
        differences = to_differences(rows, states[:, None], self.layout)
        if self.layout.state_columns:
            states = self.layout.to_data(states)
        else:
            states = np.zeros((len(states), 1))  # nothing but padding
        return compute_stats(differences, states, self.recipe.network.action_dim)

    def stream(
        self,
        steps: range,
        seed: int,
        size: int,
        tokenizer: Tokenizer,
        stats: NormStats,
        share: slice,
    ) -> Iterator[tuple[Batch, np.random.Generator]]:
        """``share`` of the samples of each step, and the generator that goes on with the step.

        Each step has a generator of its own, so that a resumed run draws what it would have.
        """
        for step in steps:
            random = np.random.default_rng([seed, step])
            yield self.draw(random, size, tokenizer, stats, share), random

    def draw(
        self,
        random: np.random.Generator,
        size: int,
        tokenizer: Tokenizer,
        stats: NormStats,
        share: slice = _ALL,
    ) -> Batch:
        """Samples of ``size`` random training frames, each sentence in a random wording.

        ``share`` of the frames only: what is drawn does not depend on it.
        """
        frames = np.sort(random.integers(self.train_size, size=size))
        return self._batch(frames, random, tokenizer, stats, share)

    def held_out(self, count: int, tokenizer: Tokenizer, stats: NormStats) -> Batch:
        """Samples of the same ``count`` unseen frames at every call."""
        frames = np.linspace(self.train_size, self.size - 1, count).astype(int)
        return self._batch(frames, np.random.default_rng(0), tokenizer, stats, _ALL)

    def _batch(
        self, frames, random, tokenizer: Tokenizer, stats: NormStats, share: slice
    ) -> Batch:
        sentences = self._ask(len(frames), random)[share]
        prompts = [
            encode_prompt(tokenizer, sentence, self.recipe.max_text_tokens)
            for row in sentences
            for sentence in row
        ]
        ids, masks = (np.stack(part) for part in zip(*prompts, strict=True))
        images, seen = self._show(frames[share])
        return Batch(
            images=images,
            image_masks=seen,
            token_ids=torch.from_numpy(ids),
            token_mask=torch.from_numpy(masks),
            actions=torch.from_numpy(self._encode(frames[share], stats)).flatten(0, 1),
        )

    def _ask(self, count: int, random: np.random.Generator) -> list[list[str]]:
        """Sentences about all objects for each of ``count`` frames."""
        names = self.recording.objects
        wordings = random.choice(self.recording.wordings, (count, len(names)))
        return [
            [str(wording).format(object=name) for wording, name in zip(row, names, strict=True)]
            for row in wordings
        ]

    def _show(self, frames: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures of frames, and which of them the network sees."""
        pictures = torch.from_numpy(self.recording.pictures[frames]).permute(0, 1, 4, 2, 3)
        return pictures.float().div_(127.5).sub_(1.0), self._seen.expand(pictures.shape[:2])

    def _encode(self, frames: np.ndarray, stats: NormStats) -> np.ndarray:
        """Normalised plans (F, O, H, D) of frames."""
        states = self.recording.states[frames][:, None]
        rows = self.recording.rows[frames]
        return encode_actions(rows, states, self.layout, stats, self.recipe.normalisation)


def to_pixels(picture: np.ndarray) -> np.ndarray:
    """A prepared picture (3, P, P) in [-1, 1] as 8-bit (P, P, 3), which is exact."""
    return np.rint((picture * 0.5 + 0.5) * 255).astype(np.uint8).transpose(1, 2, 0)
