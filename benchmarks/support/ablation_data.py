# SPDX-License-Identifier: Apache-2.0
"""One recording, read as the ablation's stages do: with questions first, and never with sentences
that are held out."""

from itertools import chain

import numpy as np
import torch
from support.ablation_cells import split_wordings
from support.questions import LONGEST_ANSWER, Question, make_questions, pick

from dm0_ros.errors import Dm0Error
from dm0_ros.policy.normalisation import NormStats
from dm0_ros.policy.tokenizer import Tokenizer
from dm0_ros.robots import load_robot
from dm0_ros.training.dataset import Recording
from dm0_ros.training.hybrid_data import HybridDataset
from dm0_ros.training.losses import HybridBatch
from dm0_ros.training.recipe import ArmRecipe
from dm0_ros.training.texts import Text, tokenise


class SplitDataset(HybridDataset):
    """A recording in which no object is asked for in words that are held out about it."""

    def __init__(self, recipe: ArmRecipe, recording: Recording) -> None:
        super().__init__(recipe, recording)
        self._wordings = [split_wordings(recording.wordings, n)[0] for n in recording.objects]

    def sentences(self) -> list[str]:
        """Every training sentence."""
        pairs = zip(self._wordings, self.recording.objects, strict=True)
        return list(chain(*([w.format(object=name) for w in own] for own, name in pairs)))

    def _ask(self, count: int, random: np.random.Generator) -> list[list[str]]:
        pairs = list(zip(self._wordings, self.recording.objects, strict=True))
        return [
            [str(random.choice(own)).format(object=name) for own, name in pairs]
            for _ in range(count)
        ]


class QuestionDataset(SplitDataset):
    """A recording whose frames are asked about, too. ``view`` is the slot that left and right are
    of.

    A frame has a sample for each object, with actions and without text, and as many questions
    with an answer and without actions.
    """

    def __init__(self, recipe: ArmRecipe, recording: Recording, view: str) -> None:
        super().__init__(recipe, recording)
        camera = load_robot(recipe.robot).simulation.cameras[view]
        self._size = (camera.width, camera.height)

    def questions(self, frame: int) -> list[Question]:
        """All about one frame. Boxes of objects only: a recording of touches has no others."""
        boxes = self.recording.annotations["boxes"][frame]
        found = make_questions(self.recording.objects, boxes, self._size)
        if not found:
            raise Dm0Error(f"frame {frame} shows nothing that could be asked about")
        return found

    def unseen_frames(self, count: int) -> np.ndarray:
        """Frames that no training sees, of ``count`` episodes or all that there are."""
        first = np.arange(self.train_size, self.size, self.recording.together)
        return first[np.linspace(0, len(first) - 1, min(count, len(first))).astype(int)]

    def show(self, frame: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures (1, V, 3, P, P) of a frame, and which the network sees (1, V)."""
        return self._show(np.array([frame]))

    def _batch(
        self, frames, random, tokenizer: Tokenizer, stats: NormStats, share: slice
    ) -> HybridBatch:
        sentences = self._ask(len(frames), random)[share]
        drawn = random.random((len(frames), len(self.recording.objects)))[share]
        frames, texts = frames[share], []
        for frame, asked, parts in zip(frames, sentences, drawn, strict=True):
            found = self.questions(frame)
            chosen = [pick(found, part) for part in parts]
            texts += [Text(sentence) for sentence in asked]
            texts += [Text(question.text, question.answer, lines=0) for question in chosen]
        images, seen = self._show(frames)
        plans = torch.from_numpy(self._encode(frames, stats))
        acted = torch.ones(plans.shape[:2], dtype=torch.bool)
        return HybridBatch(
            images=images,
            image_masks=seen,
            **vars(tokenise(texts, tokenizer, self.recipe.max_text_tokens, LONGEST_ANSWER)),
            actions=torch.cat([plans, torch.zeros_like(plans)], 1).flatten(0, 1),
            acted=torch.cat([acted, ~acted], 1).flatten(),
        )
