# SPDX-License-Identifier: Apache-2.0
"""Samples of many sources as batches for the hybrid losses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from dm0_ros.errors import InstructionError
from dm0_ros.policy.actions import encode_actions
from dm0_ros.policy.normalisation import Normalisation, NormStats
from dm0_ros.policy.pictures import PadColour, prepare_picture
from dm0_ros.policy.tokenizer import Tokenizer, load_tokenizer
from dm0_ros.robots.spec import Layout
from dm0_ros.training.losses import HybridBatch
from dm0_ros.training.sources.augmentation import AugmentationSettings, augment_sample
from dm0_ros.training.sources.discrete import ActionWriter
from dm0_ros.training.sources.mixture import Draw
from dm0_ros.training.sources.sample import BrokenEpisodeError, Sample, Source, SourceError
from dm0_ros.training.sources.wordings import INSTRUCTION, Wordings
from dm0_ros.training.texts import AnswerError, Text, tokenise


@dataclass(frozen=True)
class BatchSettings:
    """What the network takes, and what of a sample is left to chance."""

    picture_size: int
    rows: int
    columns: int  # of actions, padded
    normalisation: Normalisation
    longest_prompt: int  # tokens
    longest_answer: int
    masked_slots: tuple[str, ...] = ()  # cameras that the network does without
    pad: PadColour = PadColour.BLACK
    augmentation: AugmentationSettings | None = None
    wordings: Wordings | None = None
    discrete: ActionWriter | None = None  # taught where a robot's sample has no answer
    # What else wordings may say of a source: fields such as `robot` by the source's name.
    fields: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


class BatchMaker:
    """Makes batches of draws. Can be pickled: a worker loads the tokenizer from its folder."""

    def __init__(
        self, settings: BatchSettings, sources: Sequence[Source], stats: NormStats, tokenizer: Path
    ) -> None:
        self._settings, self._stats, self._folder = settings, stats, tokenizer
        self._layouts: dict[str, Layout | None] = {s.name: s.layout for s in sources}
        self._slots = {s.name: list_views(s, settings.masked_slots) for s in sources}
        self._views = max(map(len, self._slots.values()))
        if len(self._layouts) < len(sources):
            names = ", ".join(source.name for source in sources)
            raise SourceError(f"two sources have the same name ({names}); give them others")

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return load_tokenizer(self._folder)

    def __getstate__(self) -> dict:
        return {key: value for key, value in vars(self).items() if key != "_tokenizer"}

    def word(self, sample: Sample, name: str, generator: np.random.Generator) -> Sample:
        """The sample as it is asked for: `Mixture` gets this as ``finish``.

        Raises `BrokenEpisodeError` with the sample's ``name`` where its texts do not fit.
        """
        settings = self._settings
        worded = replace(sample, instruction=self._ask(sample, generator))
        text = Text(worded.instruction, worded.answer)
        try:
            tokenise([text], self._tokenizer, settings.longest_prompt, settings.longest_answer)
        except (InstructionError, AnswerError) as flaw:
            raise BrokenEpisodeError(f"{name}: {flaw}") from flaw
        return worded

    def __call__(self, draw: Draw) -> HybridBatch:
        """A batch in which every sample has its own pictures. Samples are worded already."""
        settings = self._settings
        pairs = list(zip(draw.samples, draw.generators, strict=True))
        samples = [self._change(sample, generator) for sample, generator in pairs]
        actions = [self._act(sample) for sample in samples]
        # The policy writes no answer before it acts, so the expert must not come to need one.
        texts = [
            Text(sample.instruction, self._answer(sample, rows), lines=0)
            for sample, rows in zip(samples, actions, strict=True)
        ]
        images, masks = zip(*(self._show(sample) for sample in samples), strict=True)
        tokens = tokenise(texts, self._tokenizer, settings.longest_prompt, settings.longest_answer)
        return HybridBatch(
            images=torch.from_numpy(np.stack(images)),
            image_masks=torch.tensor(masks),
            **vars(tokens),
            actions=torch.from_numpy(np.stack(actions)),
            acted=torch.tensor([sample.rows is not None for sample in samples]),
            progress=_stack_progress(samples),
        )

    def _change(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """The sample with augmented pictures, as far as its answer stays true of them."""
        settings = self._settings
        if settings.augmentation is None or sample.rows is None:
            return sample  # a question may be about colours
        # An answer may name places in the main view.
        main = self._slots[sample.dataset][0] if sample.answer is None else None
        size = settings.picture_size
        return augment_sample(sample, size, main, settings.augmentation, generator)[0]

    def _ask(self, sample: Sample, generator: np.random.Generator) -> str:
        if sample.rows is None or self._settings.wordings is None:
            return sample.instruction  # a question stays what it is
        known = {INSTRUCTION: sample.instruction, **self._settings.fields.get(sample.dataset, {})}
        if sample.progress is not None:
            known["progress"] = str(round(100 * sample.progress[0]))
        return self._settings.wordings.choose(known, generator)

    def _answer(self, sample: Sample, normalised: np.ndarray) -> str | None:
        """The sample's own, or else its normalised rows (H, D) in words where they are taught."""
        discrete = self._settings.discrete
        if discrete is None or sample.rows is None or sample.answer is not None:
            return sample.answer
        return discrete.write(normalised[:, : len(self._layouts[sample.dataset].columns)])

    def _show(self, sample: Sample) -> tuple[np.ndarray, list[bool]]:
        """Pictures (V, 3, P, P) float32, zeros for those that are not there, and which are."""
        size, pad = self._settings.picture_size, self._settings.pad
        there = [False] * self._views
        views = np.zeros((self._views, 3, size, size), np.float32)
        for view, slot in enumerate(self._slots[sample.dataset]):
            if slot in sample.pictures:
                views[view] = prepare_picture(sample.pictures[slot], size, pad)
                there[view] = True
        return views, there

    def _act(self, sample: Sample) -> np.ndarray:
        """Normalised rows (H, D) float32; zeros where there are none."""
        settings = self._settings
        if sample.rows is None:
            return np.zeros((settings.rows, settings.columns), np.float32)
        if len(sample.rows) != settings.rows:
            raise SourceError(
                f"{sample.dataset}: has chunks of {len(sample.rows)} rows, the network takes "
                f"{settings.rows}; set its 'rows'"
            )
        layout = self._layouts[sample.dataset]
        return encode_actions(
            sample.rows, sample.state, layout, self._stats, settings.normalisation
        )


def list_views(source: Source, masked: Sequence[str]) -> tuple[str, ...]:
    """Slots of a source's views as the network sees them, the main one first.

    Each robot has an order of its own, and what it has no picture of keeps its place. Questions
    have that of their cameras.
    """
    slots = source.slots if source.embodiment is None else source.embodiment.slots
    return tuple(slot for slot in slots if slot not in masked)


def _stack_progress(samples: Sequence[Sample]) -> torch.Tensor | None:
    """Progress (B, 2) of those that act; None where none of them says it."""
    acting = [sample for sample in samples if sample.rows is not None]
    if all(sample.progress is None for sample in acting):
        return None
    without = sorted({sample.dataset for sample in acting if sample.progress is None})
    if without:
        raise SourceError(
            f"{', '.join(without)}: says no progress, but others do; set 'progress' for all "
            "sources of robots, or for none"
        )
    return torch.tensor([sample.progress or (0.0, 0.0) for sample in samples])
