# SPDX-License-Identifier: Apache-2.0
"""Episodes of numbers and pictures, from whatever reads a format, as samples."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

from dm0_ros.robots.spec import Layout
from dm0_ros.training.sources.chunks import (
    Track,
    check_track,
    count_samples,
    cut_chunks,
    measure_progress,
)
from dm0_ros.training.sources.sample import Numbers, Sample
from dm0_ros.training.sources.settings import SourceSettings

_KEPT = 64  # tracks of the last episodes, a few hundred kB each


class Reader(Protocol):
    """Reads one format. It can be pickled, and holds no more than an index of the episodes."""

    lengths: Sequence[int]  # frames of each episode

    def track(self, episode: int) -> Track:
        """The numbers of an episode."""

    def pictures(
        self, episode: int, frames: Sequence[int], times: Sequence[float]
    ) -> Iterator[dict[str, np.ndarray]]:
        """Pictures by slot at the frames, which rise, decoded one after another.

        ``times`` are those frames' own, s from the episode's beginning, as its track has them.
        """

    def title(self, episode: int) -> str:
        """What an episode is called in messages."""

    def name_frame(self, episode: int, frame: int) -> str:
        """What a frame is called in messages."""

    def talks(self) -> bool:
        """Whether a track has answers."""


class EpisodeSource:
    """A `Source` of a robot's episodes."""

    def __init__(self, reader: Reader, settings: SourceSettings, layout: Layout) -> None:
        self.name, self.layout = settings.title, layout
        self.embodiment = settings.find_embodiment()
        filled = settings.cameras.values()
        self.slots = tuple(slot for slot in self.embodiment.slots if slot in filled)
        self.weight, self.skip_broken = settings.weight, settings.skip_broken
        self._reader, self._settings = reader, settings
        self._track = lru_cache(_KEPT)(self._read_track)

    def __reduce__(self) -> tuple:
        """Pickled without what it remembers."""
        return EpisodeSource, (self._reader, self._settings, self.layout)

    def __len__(self) -> int:
        return len(self._reader.lengths)

    def talks(self) -> bool:
        """Whether a sample has an answer."""
        return self._reader.talks()

    def size(self, episode: int) -> int:
        """Number of samples of an episode."""
        return count_samples(int(self._reader.lengths[episode]), self._settings)

    def name_sample(self, episode: int, index: int) -> str:
        """What a sample is called in messages."""
        return self._reader.name_frame(episode, index * self._settings.every)

    def episode(self, episode: int) -> Iterator[Sample]:
        """Every sample of an episode, one at a time."""
        return self.take(episode, range(self.size(episode)))

    def take(self, episode: int, indices: Sequence[int]) -> Iterator[Sample]:
        """The samples of those indices, which rise, one at a time."""
        track = self._track(episode)
        frames = [index * self._settings.every for index in indices]
        views = self._reader.pictures(episode, frames, track.times[frames])
        for frame, pictures in zip(frames, views, strict=True):
            numbers = cut_chunks(track, self.layout, self._settings, [frame])
            yield Sample(
                pictures=pictures,
                instruction=track.instructions[frame],
                state=numbers.states[0],
                rows=numbers.rows[0],
                answer=track.answers[frame] if track.answers else None,
                progress=self._progress(track, frame),
                dataset=self.name,
            )

    def numbers(self, episode: int) -> Numbers:
        """States and rows of every sample."""
        frames = np.arange(self.size(episode)) * self._settings.every
        return cut_chunks(self._track(episode), self.layout, self._settings, frames)

    def _progress(self, track: Track, frame: int) -> tuple[float, float] | None:
        return measure_progress(track, self._settings, frame) if self._settings.progress else None

    def _read_track(self, episode: int) -> Track:
        track = self._reader.track(episode)
        check_track(track, self.layout, self._settings, self._reader.title(episode))
        return track
