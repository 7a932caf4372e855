# SPDX-License-Identifier: Apache-2.0
"""Recorded frames with what a perfect scaffold says of them, as batches of text and actions."""

import numpy as np
import torch

from dm0_ros.policy.normalisation import NormStats
from dm0_ros.policy.tokenizer import Tokenizer
from dm0_ros.scaffold.decoded import encode_rows
from dm0_ros.scaffold.grammar import load_grammar
from dm0_ros.scaffold.levels import Level
from dm0_ros.training.annotation import Composer
from dm0_ros.training.dataset import Dataset, Recording
from dm0_ros.training.losses import HybridBatch
from dm0_ros.training.recipe import NOTHING, ArmRecipe
from dm0_ros.training.texts import Text, tokenise

_EXAMPLES = 200  # frames whose answers the tokenizer learns its words from


class HybridDataset(Dataset):
    """A recording whose frames have answers too. One without annotations teaches actions only.

    Answers always go as far as the recipe's levels. How much of an answer the expert sees is
    drawn for each sample, and so is whether it is the answer to an earlier frame: so one
    checkpoint acts without text, with the text of any level, and with a text that is late.
    """

    def __init__(self, recipe: ArmRecipe, recording: Recording) -> None:
        super().__init__(recipe, recording)
        self._teaching, self._scaffold = recipe.teaching, recipe.scaffold
        self._composer = Composer(recipe) if recipe.scaffold else None
        self._grammar = load_grammar(recipe.scaffold.grammar) if recipe.scaffold else None

    def answers(self, stats: NormStats) -> list[str]:
        """Answers of frames all over the training data."""
        frames = np.linspace(0, self.train_size - 1, min(_EXAMPLES, self.train_size)).astype(int)
        plans = self._encode(frames, stats)
        count = range(len(self.recording.objects))
        return [
            self._answer(frame, index, plan[index])
            for frame, plan in zip(frames, plans, strict=True)
            for index in count
        ]

    def _batch(
        self, frames, random, tokenizer: Tokenizer, stats: NormStats, share: slice
    ) -> HybridBatch:
        sentences = self._ask(len(frames), random)[share]
        shape = len(frames), len(self.recording.objects)
        lines = self._draw_lines(random, shape)[share]
        written = self._draw_written(random, frames, shape)[share]
        frames = frames[share]
        plans = self._encode(frames, stats)
        if self._scaffold is None:
            texts = [Text(sentence) for row in sentences for sentence in row]
            most = 0
        else:
            texts = self._speak(frames, sentences, lines, written, plans, stats)
            most = self._scaffold.limit
        images, seen = self._show(frames)
        actions = torch.from_numpy(plans).flatten(0, 1)
        return HybridBatch(
            images=images,
            image_masks=seen,
            **vars(tokenise(texts, tokenizer, self.recipe.max_text_tokens, most)),
            actions=actions,
            acted=torch.ones(len(actions), dtype=torch.bool),
        )

    def _draw_lines(self, random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        """How many lines of its answer the expert sees in each sample."""
        shown = self._teaching.shown
        if not shown:
            return np.full(shape, len(self._scaffold.levels) if self._scaffold else 0)
        weights = np.array(list(shown.values()))
        counts = [0 if name == NOTHING else Level(name).count for name in shown]
        return random.choice(counts, shape, p=weights / weights.sum())

    def _draw_written(
        self, random: np.random.Generator, frames: np.ndarray, shape: tuple[int, int]
    ) -> np.ndarray:
        """The frame that each sample's answer was written at: this one, or one before it.

        An episode's first frame has none before it.
        """
        ages = random.integers(1, self._teaching.stale_frames, shape, endpoint=True)
        ages *= random.random(shape) < self._teaching.stale
        return frames[:, None] - np.minimum(ages, (frames % self.recording.together)[:, None])

    def _speak(self, frames, sentences, lines, written, plans, stats: NormStats) -> list[Text]:
        texts = []
        for place, frame in enumerate(frames):
            for index, sentence in enumerate(sentences[place]):
                source, plan = int(written[place, index]), plans[place, index]
                if source != frame and self._scaffold.action_rows:
                    plan = self._encode(np.array([source]), stats)[0, index]
                answer = self._answer(source, index, plan)
                shown = int(lines[place, index])
                texts.append(Text(sentence, answer, shown, learnt=source == frame))
        return texts

    def _answer(self, frame: int, index: int, plan: np.ndarray) -> str:
        """The text that a frame's scaffold for one object is; its plan (H, D) is normalised."""
        moment = {name: values[frame] for name, values in self.recording.annotations.items()}
        bins: tuple[int, ...] = ()
        if Level.ACTION in self._scaffold.levels:
            # Columns that are nothing but padding are not worth a word.
            columns = len(self.layout.columns)
            bins = encode_rows(plan[:, :columns], self._scaffold.action_rows)
        scaffold = self._composer.compose(moment, index, bins)
        return self._grammar.write(scaffold, self._scaffold.levels)
