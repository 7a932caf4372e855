# SPDX-License-Identifier: Apache-2.0
"""What a recipe's sources give to train on, batch by batch."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dm0_ros.policy.normalisation import NormStats
from dm0_ros.policy.tokenizer import Tokenizer
from dm0_ros.robots import load_robot
from dm0_ros.training.losses import HybridBatch
from dm0_ros.training.recipe import SourceRecipe
from dm0_ros.training.sources.batches import BatchMaker, BatchSettings
from dm0_ros.training.sources.discrete import ActionWriter
from dm0_ros.training.sources.loader import Loader, LoaderSettings
from dm0_ros.training.sources.mixture import Mixture
from dm0_ros.training.sources.opening import open_source
from dm0_ros.training.sources.sample import Source, SourceError
from dm0_ros.training.sources.statistics import gather_stats, merge_stats
from dm0_ros.training.sources.tags import find_fields
from dm0_ros.training.sources.wordings import load_wordings


class SourceDataset:
    """Sources as the trainer reads them; every sample has pictures of its own.

    ``folder`` holds the tokenizer when batches are made. Raises `SourceError` where a folder does
    not fit its settings, no source is of the recipe's robot, layout and step, or the network looks
    at no picture of one; `RecipeError` where nothing teaches what the recipe decouples.
    """

    def __init__(self, recipe: SourceRecipe, folder: Path) -> None:
        self._recipe, self._folder = recipe, folder
        self._sources = [open_source(settings) for settings in recipe.sources]
        _check_fit(recipe, self._sources)
        recipe.require_teacher(source.talks() for source in self._sources)
        for source in self._sources:
            _check_pictures(source, recipe.masked_slots)
        self._settings = _make_settings(recipe, self._sources)

    def stats(self) -> NormStats:
        """Statistics of all robots' rows and states."""
        width = self._recipe.network.action_dim
        return merge_stats([gather_stats(s, width) for s in self._sources if s.layout])

    def stream(
        self,
        steps: range,
        seed: int,
        size: int,
        _tokenizer: Tokenizer,
        stats: NormStats,
        share: slice,
    ) -> Iterator[tuple[HybridBatch, np.random.Generator]]:
        """See `Dataset.stream`."""
        make = BatchMaker(self._settings, self._sources, stats, self._folder)
        rank, ranks = share.start or 0, share.step or 1
        loading = LoaderSettings(size, self._recipe.loaders, rank=rank, ranks=ranks)
        loader = Loader(Mixture(self._sources, seed, finish=make.word), make, loading)
        for step, batch in zip(steps, loader.run(steps.start, steps.stop), strict=True):
            yield batch, np.random.default_rng([seed, step])


def _check_fit(recipe: SourceRecipe, sources: Sequence[Source]) -> None:
    """A policy can do what its own robot was seen to do, in rows as far apart."""
    wanted = load_robot(recipe.robot).name, recipe.layout
    bodies = {source.name: source.embodiment for source in sources if source.embodiment}
    own = {name: body for name, body in bodies.items() if (body.robot, body.layout) == wanted}
    if not own:
        found = [f"{name} of {body.robot} ({body.layout})" for name, body in bodies.items()]
        raise SourceError(
            f"{recipe.name}: no source is of a robot {wanted[0]} with layout {wanted[1]}, which "
            f"the policy is for, but {', '.join(found) or 'none of any robot'}; add one, or "
            "correct 'robot' and 'layout'"
        )
    for name, body in own.items():
        if body.step != recipe.step:
            raise SourceError(
                f"{name}: its rows are {body.step:g} s apart, those of {recipe.name} "
                f"{recipe.step:g} s; write the same 'step' in both"
            )


def _check_pictures(source: Source, masked: Sequence[str]) -> None:
    looks = [slot for slot in source.slots if slot not in masked]
    if looks or not (source.slots or source.embodiment):
        return  # questions may do without pictures
    raise SourceError(
        f"{source.name}: the network looks at none of its pictures, which are "
        f"{', '.join(source.slots) or 'none'}, and 'masked_slots' {', '.join(masked) or 'none'}; "
        "map a camera to another slot under 'cameras', or unmask it"
    )


def _make_settings(recipe: SourceRecipe, sources: Sequence[Source]) -> BatchSettings:
    return BatchSettings(
        picture_size=recipe.network.vision.image_size,
        rows=recipe.network.chunk_size,
        columns=recipe.network.action_dim,
        normalisation=recipe.normalisation,
        longest_prompt=recipe.max_text_tokens,
        longest_answer=recipe.longest_answer,
        masked_slots=recipe.masked_slots,
        pad=recipe.picture_pad,
        augmentation=recipe.augmentation,
        wordings=load_wordings(recipe.wordings) if recipe.wordings else None,
        fields={source.name: find_fields(source) for source in sources},
        discrete=ActionWriter.load(recipe.discrete) if recipe.discrete else None,
    )
