# SPDX-License-Identifier: Apache-2.0
"""One moment to train on, and what a set of data has to be able to give."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dm0_ros.errors import Dm0Error
from dm0_ros.robots.spec import Layout


class SourceError(Dm0Error):
    """A set of training data is missing, is not what its settings say, or lacks a part."""


class BrokenEpisodeError(SourceError):
    """One episode cannot be used: a missing file, a wrong width, NaN, or too few frames."""


@dataclass(frozen=True)
class Embodiment:
    """Whose rows a source has, and how far apart they are."""

    robot: str
    layout: str
    step: float  # s between rows
    slots: tuple[str, ...]  # the robot's cameras, in the order in which a network sees them


@dataclass(frozen=True, eq=False)
class Sample:
    """One moment. Without rows it teaches text alone, without an answer actions alone."""

    pictures: dict[str, np.ndarray]  # (height, width, 3) uint8 RGB by camera slot
    instruction: str
    state: np.ndarray | None  # (S,) float32, SI and radians
    rows: np.ndarray | None  # (H, C) float32 absolute set-points, SI and radians
    answer: str | None
    progress: tuple[float, float] | None  # share of the job done: now, and at the chunk's end
    dataset: str


@dataclass(frozen=True, eq=False)
class Numbers:
    """What statistics are made of: the samples of an episode without their pictures."""

    states: np.ndarray  # (N, S) float32, SI and radians
    rows: np.ndarray  # (N, H, C) float32 absolute set-points


class Source(Protocol):
    """A set of data: episodes, each of them samples in the order of time.

    Whatever is asked of an episode raises `BrokenEpisodeError` where that episode is at fault.
    A source can be pickled: it is what worker processes get.
    """

    name: str
    layout: Layout | None  # of states and rows; None where samples have only text
    embodiment: Embodiment | None  # the same
    slots: tuple[str, ...]  # that samples have pictures of, in the order of the network's views
    weight: float  # how much more often than its size says it is drawn
    skip_broken: bool  # whether another episode may be drawn in place of a broken one

    def __len__(self) -> int:
        """Number of episodes."""

    def talks(self) -> bool:
        """Whether a sample has an answer."""

    def size(self, episode: int) -> int:
        """Number of samples of an episode."""

    def name_sample(self, episode: int, index: int) -> str:
        """What a sample is called in messages."""

    def take(self, episode: int, indices: Sequence[int]) -> Iterator[Sample]:
        """The samples of those indices, which rise, one at a time."""

    def episode(self, episode: int) -> Iterator[Sample]:
        """Every sample of an episode, one at a time."""

    def numbers(self, episode: int) -> Numbers | None:
        """States and rows of every sample; None for text."""
