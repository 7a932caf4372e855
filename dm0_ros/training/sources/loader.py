# SPDX-License-Identifier: Apache-2.0
"""Batches made ahead of time by other processes; how many there are changes nothing in them."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import cv2
from torch.utils.data import DataLoader, Dataset

from dm0_ros.errors import Dm0Error
from dm0_ros.training.sources.mixture import Draw, Mixture

_LOG = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class LoaderSettings:
    """How batches are made. At most ``workers * ahead`` of them are held at a time."""

    batch: int  # samples of a step, over all ranks
    workers: int = 0  # processes; 0: in this one, when asked
    ahead: int = 2  # batches that each process makes in advance
    rank: int = 0  # of this trainer, among
    ranks: int = 1  # trainers that share a step's samples


class Loader(Generic[T]):
    """Makes each step's batch from what a mixture draws.

    ``make(draw)`` runs in the workers, so it must be a function of a module or an object that can
    be pickled; what it leaves to chance must come from the draw's generators.
    """

    def __init__(
        self, mixture: Mixture, make: Callable[[Draw], T], settings: LoaderSettings
    ) -> None:
        self.broken: dict[str, str] = {}
        """Why episodes have been passed over so far, by their names."""
        self._batches = _Batches(mixture, make, settings)
        self._settings = settings

    def run(self, start: int, stop: int) -> Iterator[T]:
        """The batches of steps ``start`` to ``stop``. Raises what making one raised."""
        for result in self._results(range(start, stop)):
            if isinstance(result, Dm0Error):
                raise result
            batch, broken = result
            for name, reason in broken.items():
                if name not in self.broken:
                    _LOG.warning("passed over %s: %s", name, reason)
            self.broken |= broken
            yield batch

    def _results(self, steps: range) -> Iterator[Any]:
        settings = self._settings
        if not settings.workers:
            return (self._batches[step] for step in steps)
        return iter(
            DataLoader(
                self._batches,
                batch_size=None,
                sampler=steps,
                num_workers=settings.workers,
                prefetch_factor=settings.ahead,
                multiprocessing_context="spawn",  # videos and OpenCV have threads; forks lose them
                worker_init_fn=_start_worker,
            )
        )


class _Batches(Dataset):
    """A step's batch and what was passed over, or the error: it comes back as it was raised."""

    def __init__(
        self, mixture: Mixture, make: Callable[[Draw], Any], settings: LoaderSettings
    ) -> None:
        self._mixture, self._make, self._settings = mixture, make, settings

    def __getitem__(self, step: int) -> tuple[Any, dict[str, str]] | Dm0Error:
        settings = self._settings
        items = range(settings.rank, settings.batch, settings.ranks)
        try:
            draw = self._mixture.draw(step, settings.batch, items)
            return self._make(draw), draw.broken
        except Dm0Error as flaw:
            return flaw


def _start_worker(_: int) -> None:
    cv2.setNumThreads(1)
