# SPDX-License-Identifier: Apache-2.0
"""What `training.recording` wrote: frames of a simulation, with a plan for every object.

Each plan is a sample of its own, of the same picture: what differs is the sentence and the rows.
"""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dm0_ros.robots import load_robot
from dm0_ros.sim.world import load_world
from dm0_ros.training.sources.sample import Embodiment, Numbers, Sample, SourceError
from dm0_ros.training.sources.settings import SourceSettings

FILE_NAME = "recording.json"
_ARRAYS = ("pictures", "states", "rows")


class RecordingSource:
    """A `Source` of a recording's folder. Nothing is read of its arrays but what is asked for."""

    def __init__(self, settings: SourceSettings) -> None:
        self.name = settings.title
        self.weight, self.skip_broken = settings.weight, settings.skip_broken
        self._settings = settings
        about = _describe(settings.folder)
        robot = load_robot(about["robot"])
        self.layout = robot.layout(about["layout"])
        self.embodiment = Embodiment(
            robot.name, about["layout"], about["step"], robot.camera_slots
        )
        self._frames, self._episodes = about["data"]["frames"], about["data"]["episodes"]
        world = load_world(about["world"])
        self._objects = world.object_names
        self._wordings = world.task(about["task"]).instructions.training
        slots = enumerate(robot.camera_slots)
        self._slots = {slot: i for i, slot in slots if slot not in about["masked_slots"]}
        self.slots = tuple(self._slots)
        self._check(len(robot.camera_slots))

    def __reduce__(self) -> tuple:
        """Pickled as what it was made of: each process maps the files itself."""
        return RecordingSource, (self._settings,)

    def __len__(self) -> int:
        return self._episodes

    def talks(self) -> bool:
        """No: what a recording knows for answers is not read here."""
        return False

    def size(self, episode: int) -> int:
        """Number of samples of an episode: its frames, once for each object."""
        return self._frames * len(self._objects)

    def name_sample(self, episode: int, index: int) -> str:
        """What a sample is called in messages."""
        frame, which = divmod(index, len(self._objects))
        return f"{self.name} episode {episode}: frame {frame}, {self._objects[which]}"

    def episode(self, episode: int) -> Iterator[Sample]:
        """Every sample of an episode, one at a time."""
        return self.take(episode, range(self.size(episode)))

    def take(self, episode: int, indices: Sequence[int]) -> Iterator[Sample]:
        """The samples of those indices, which rise, one at a time."""
        arrays = self._arrays
        for index in indices:
            frame, which = divmod(index, len(self._objects))
            place = episode * self._frames + frame
            views = arrays["pictures"][place]
            wording = self._wordings[place % len(self._wordings)]
            yield Sample(
                pictures={slot: np.array(views[view]) for slot, view in self._slots.items()},
                instruction=wording.format(object=self._objects[which]),
                state=np.array(arrays["states"][place]),
                rows=np.array(arrays["rows"][place, which]),
                answer=None,
                progress=None,
                dataset=self.name,
            )

    def numbers(self, episode: int) -> Numbers:
        """States and rows of every sample."""
        frames = slice(episode * self._frames, (episode + 1) * self._frames)
        states = np.repeat(self._arrays["states"][frames], len(self._objects), axis=0)
        rows = np.asarray(self._arrays["rows"][frames])
        return Numbers(states, rows.reshape(-1, *rows.shape[2:]))

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        folder = self._settings.folder
        try:
            return {key: np.load(folder / f"{key}.npy", mmap_mode="r") for key in _ARRAYS}
        except (OSError, ValueError) as cause:
            message = f"{folder}: is incomplete ({cause}); record it again with 'dm0 train'"
            raise SourceError(message) from cause

    def _check(self, views: int) -> None:
        count, columns = self._episodes * self._frames, len(self.layout.columns)
        expected = {
            "pictures": (count, views),
            "states": (count, columns),
            "rows": (count, len(self._objects)),
        }
        for key, shape in expected.items():
            found = self._arrays[key].shape
            if found[: len(shape)] != shape or (key == "rows" and found[-1] != columns):
                raise SourceError(
                    f"{self._settings.folder / key}.npy: has shape {found}, which does not fit "
                    f"{FILE_NAME}; record it again with 'dm0 train'"
                )


def _describe(folder: Path) -> dict[str, Any]:
    path = folder / FILE_NAME
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        message = f"{path}: cannot be read ({cause}); 'path' must be a folder of 'dm0 train'"
        raise SourceError(message) from cause
    keys = ("robot", "layout", "step", "world", "task", "data", "masked_slots")
    missing = [key for key in keys if key not in about]
    if missing:
        raise SourceError(f"{path}: has no {', '.join(missing)}; record it again with 'dm0 train'")
    return about
