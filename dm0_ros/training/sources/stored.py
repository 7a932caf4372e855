# SPDX-License-Identifier: Apache-2.0
"""Our own folders of episodes: numbers as they are, pictures as they were sent. No extras needed.

``episodes.json`` says what all share and what there is; each episode is one zip, not compressed:
``times.npy`` (F,), ``states.npy`` (F, S), ``actions.npy`` (F, C), and for each camera the pictures
``<camera>/<number>.jpg`` or ``.png`` and ``<camera>/shown.npy`` (F,), the number that a row sees.
"""

import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dm0_ros.robots.spec import Layout
from dm0_ros.training.sources.chunks import Track
from dm0_ros.training.sources.columns import choose_columns
from dm0_ros.training.sources.sample import BrokenEpisodeError, SourceError
from dm0_ros.training.sources.settings import ActionSource, SourceSettings

INDEX = "episodes.json"
_FORMAT = "dm0_ros episodes"
_NEWEST = 1  # version of the format
_MAGIC = {b"\xff\xd8": "jpg", b"\x89P": "png"}


@dataclass(frozen=True)
class StoredEpisode:
    """One file of the folder."""

    file: str
    frames: int
    instruction: str


@dataclass(frozen=True)
class StoredIndex:
    """What all episodes of a folder share, and which there are."""

    robot: str
    layout: str
    fps: float
    states: tuple[str, ...]  # names of the numbers
    actions: tuple[str, ...]
    cameras: dict[str, tuple[int, int]]  # height, width
    episodes: tuple[StoredEpisode, ...]
    about: dict[str, Any] = field(default_factory=dict)  # where they come from

    def save(self, folder: Path) -> None:
        """Write `INDEX`: a folder without it is none."""
        content = {"format": _FORMAT, "version": _NEWEST, **asdict(self)}
        (folder / INDEX).write_text(json.dumps(content, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "StoredIndex":
        """What `save` wrote. Raises `SourceError` where there is none, or another version's."""
        path = folder / INDEX
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.pop("format") != _FORMAT or content.pop("version") != _NEWEST:
                raise SourceError(f"{path}: is of another format or version; make it again")
            content["episodes"] = tuple(StoredEpisode(**one) for one in content["episodes"])
            content |= {key: tuple(content[key]) for key in ("states", "actions")}
            content["cameras"] = {name: tuple(s) for name, s in content["cameras"].items()}
            return cls(**content)
        except OSError as cause:
            message = f"{path}: cannot be read ({cause.strerror}); see dm0 dataset from-bags"
            raise SourceError(message) from cause
        except (ValueError, TypeError, KeyError, AttributeError) as cause:
            raise SourceError(f"{path}: is not what this writes ({cause!r})") from cause


def store_episode(
    path: Path,
    numbers: Mapping[str, np.ndarray],
    pictures: Iterable[tuple[str, int, bytes]],
    shown: Mapping[str, Sequence[int]],
) -> None:
    """Write one episode, of ``numbers`` times, states and actions, at ``path``.

    ``pictures`` are taken one at a time: camera, number and the file's bytes.
    """
    with zipfile.ZipFile(path, "x") as file:
        for camera, number, data in pictures:
            file.writestr(f"{camera}/{number:06d}.{_MAGIC[data[:2]]}", data)
        arrays = {**numbers, **{f"{camera}/shown": np.array(s) for camera, s in shown.items()}}
        for name, values in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, values, allow_pickle=False)
            file.writestr(f"{name}.npy", buffer.getvalue())


class StoredFile:
    """One episode's file, open. Raises `BrokenEpisodeError`, with its ``name``, for what is not
    as `store_episode` writes it.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        try:
            self._file = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as cause:
            raise BrokenEpisodeError(f"{name}: {path} cannot be read ({cause})") from cause

    def __enter__(self) -> "StoredFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def array(self, name: str) -> np.ndarray:
        """An array by name."""
        try:
            data = self._file.read(f"{name}.npy")
            return np.load(io.BytesIO(data), allow_pickle=False)
        except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as cause:
            message = f"{self._name}: {self._path} has no {name} that can be read ({cause})"
            raise BrokenEpisodeError(message) from cause

    def encoded(self, camera: str, frame: int) -> bytes:
        """The file of the picture that a row sees."""
        shown = self.array(f"{camera}/shown")
        names = set(self._file.namelist())
        if not 0 <= frame < len(shown):
            raise BrokenEpisodeError(f"{self._name}: camera {camera} has no frame {frame}")
        found = [f"{camera}/{shown[frame]:06d}.{kind}" for kind in _MAGIC.values()]
        found = [name for name in found if name in names]
        if not found:
            raise BrokenEpisodeError(f"{self._name}: {self._path} lacks a picture of {camera}")
        try:
            return self._file.read(found[0])
        except (OSError, zipfile.BadZipFile) as cause:
            raise BrokenEpisodeError(f"{self._name}: {found[0]} is broken ({cause})") from cause

    def picture(self, camera: str, frame: int) -> np.ndarray:
        """The picture (height, width, 3) uint8 RGB that a row sees."""
        data = np.frombuffer(self.encoded(camera, frame), np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
        if picture is None:
            raise BrokenEpisodeError(f"{self._name}: a picture of {camera} cannot be decoded")
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


class StoredReader:
    """The episodes of a folder, see `episodes.Reader`. Raises `SourceError` where it does not fit
    its settings.
    """

    def __init__(self, settings: SourceSettings, layout: Layout) -> None:
        self._settings, self._folder = settings, settings.folder
        self._index = index = StoredIndex.load(settings.folder)
        if settings.fps not in (None, index.fps):
            message = f"is {settings.fps:g}, but the data say {index.fps:g}; leave it out"
            raise SourceError(message, key=("fps",))
        where = f"{self._folder / INDEX}: states"
        names = index.states
        self._states = choose_columns(layout.state_columns, names, settings.columns, where)
        where = f"{self._folder / INDEX}: actions"
        self._actions = None
        if settings.actions is ActionSource.ACTION:
            names = index.actions
            self._actions = choose_columns(layout.columns, names, settings.columns, where)
        for camera in settings.cameras:
            if camera not in index.cameras:
                known = ", ".join(index.cameras) or "none"
                message = f"the data have no camera '{camera}', only {known}"
                raise SourceError(message, key=("cameras", camera))
        self.lengths = [episode.frames for episode in index.episodes]

    def title(self, episode: int) -> str:
        """What an episode is called in messages."""
        return f"{self._settings.title} episode {episode}"

    def name_frame(self, episode: int, frame: int) -> str:
        """What a frame is called in messages."""
        return f"{self.title(episode)}: frame {frame}"

    def talks(self) -> bool:
        """No: the format has no answers."""
        return False

    def track(self, episode: int) -> Track:
        """The numbers of an episode."""
        stored = self._index.episodes[episode]
        with self._open(episode) as file:
            times = file.array("times")
            arrays = {name: file.array(name) for name in ("states", "actions")}
        for name, columns in (("states", self._index.states), ("actions", self._index.actions)):
            expected = (stored.frames, len(columns))
            if arrays[name].shape != expected or len(times) != stored.frames:
                raise BrokenEpisodeError(
                    f"{self.title(episode)}: its {name} have shape {arrays[name].shape} and its "
                    f"times {times.shape}; {INDEX} says {expected}"
                )
        actions = None if self._actions is None else arrays["actions"][:, self._actions]
        instructions = (stored.instruction,) * stored.frames
        return Track(times - times[0], arrays["states"][:, self._states], actions, instructions)

    def pictures(
        self, episode: int, frames: Sequence[int], _times: Sequence[float]
    ) -> Iterator[dict[str, np.ndarray]]:
        """Pictures by slot at the frames, which rise, decoded one after another."""
        with self._open(episode) as file:
            for frame in frames:
                yield {
                    slot: file.picture(camera, frame)
                    for camera, slot in self._settings.cameras.items()
                }

    def _open(self, episode: int) -> StoredFile:
        path = self._folder / self._index.episodes[episode].file
        return StoredFile(path, self.title(episode))
