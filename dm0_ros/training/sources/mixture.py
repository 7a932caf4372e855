# SPDX-License-Identifier: Apache-2.0
"""Which samples a step trains on: drawn from many sources, and the same whenever it is asked.

What step n draws depends on the seed and n alone, so a run that goes on draws what it would have.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from dm0_ros.training.sources.sample import BrokenEpisodeError, Sample, Source, SourceError

EXPONENT = 0.43  # of a set's size, as DM0's and pi0's reports have it
_ATTEMPTS = 20  # to find an episode that is not broken


@dataclass(frozen=True)
class Place:
    """Where a sample lies."""

    source: int
    episode: int
    index: int


@dataclass(frozen=True, eq=False)
class Draw:
    """What a step trains on. ``broken`` says why episodes were passed over, by their names."""

    samples: list[Sample]
    generators: list[np.random.Generator]  # one a sample, for whatever else is left to chance
    broken: dict[str, str] = field(default_factory=dict)


Finish = Callable[[Sample, str, np.random.Generator], Sample]
"""Makes of a drawn sample, which has that name, what a step gets. Chance comes from the generator.

May raise `BrokenEpisodeError`, as whatever is asked of a source.
"""


class Mixture:
    """Draws from sources in proportion to weight * size ** exponent; size is in samples.

    Samples are as their sources give them, or as ``finish`` makes them. Raises
    `SourceError` where there is nothing to draw.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        seed: int,
        exponent: float = EXPONENT,
        finish: Finish | None = None,
    ) -> None:
        self.sources, self._seed, self._finish = list(sources), seed, finish
        # where each episode's samples end, counted through the whole source
        self._ends = [
            np.cumsum([source.size(i) for i in range(len(source))], dtype=np.int64)
            for source in self.sources
        ]
        empty = [
            source.name
            for source, ends in zip(self.sources, self._ends, strict=True)
            if not len(ends) or not ends[-1]
        ]
        if empty or not self.sources:
            what = f"{', '.join(empty)} has no samples" if empty else "there are no sources"
            raise SourceError(f"{what}; nothing can be drawn, so leave it out or add data")
        weights = [source.weight for source in self.sources]
        powers = np.array(weights) * np.array(self.sizes, np.float64) ** exponent
        self.shares = powers / powers.sum()
        """How often each source is drawn from, summing to one."""

    @property
    def sizes(self) -> list[int]:
        """Samples in each source."""
        return [int(ends[-1]) for ends in self._ends]

    def places(self, step: int, count: int) -> list[Place]:
        """Where the samples of a step lie, before broken episodes are passed over."""
        return [self._draw_place(self._generator(step, item)) for item in range(count)]

    def draw(self, step: int, count: int, items: Sequence[int] | None = None) -> Draw:
        """The samples of a step of ``count``, or only some ``items`` of them.

        Raises `BrokenEpisodeError` unless the source says ``skip_broken``; then another episode
        is drawn in place of a broken one.
        """
        draw = Draw([], [])
        for item in range(count) if items is None else items:
            generator = self._generator(step, item)
            draw.samples.append(self._find_sample(generator, draw.broken))
            draw.generators.append(generator)
        return draw

    def _generator(self, step: int, item: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, step, item])

    def _find_sample(self, generator: np.random.Generator, broken: dict[str, str]) -> Sample:
        last = None
        for _ in range(_ATTEMPTS):
            place = self._draw_place(generator)
            source = self.sources[place.source]
            try:
                return self._take(place, generator)
            except BrokenEpisodeError as flaw:
                if not source.skip_broken:
                    raise
                broken[f"{source.name} {place.episode}"] = str(flaw)
                last = flaw
        raise SourceError(f"{_ATTEMPTS} episodes in turn were broken, the last one: {last}")

    def _take(self, place: Place, generator: np.random.Generator) -> Sample:
        source = self.sources[place.source]
        (sample,) = source.take(place.episode, [place.index])
        if self._finish is None:
            return sample
        return self._finish(sample, source.name_sample(place.episode, place.index), generator)

    def _draw_place(self, generator: np.random.Generator) -> Place:
        number = int(generator.choice(len(self.sources), p=self.shares))
        ends = self._ends[number]
        sample = int(generator.integers(ends[-1]))
        episode = int(np.searchsorted(ends, sample, side="right"))
        return Place(number, episode, sample - int(ends[episode - 1] if episode else 0))
