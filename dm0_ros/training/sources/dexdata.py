# SPDX-License-Identifier: Apache-2.0
"""Folders of Dexdata, the JSON lines of Dexbotic: a file an episode, a line a frame.

Format: docs/Data.md of github.com/dexmal/dexbotic. Lines of a robot have a state, a prompt and
perhaps an action and an answer; lines with ``is_robot: false`` are questions about pictures.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dm0_ros.robots.spec import Layout
from dm0_ros.training.sources.chunks import Track
from dm0_ros.training.sources.columns import choose_columns
from dm0_ros.training.sources.dialogue import read_dialogue
from dm0_ros.training.sources.sample import BrokenEpisodeError, Numbers, Sample, SourceError
from dm0_ros.training.sources.settings import ActionSource, SourceSettings
from dm0_ros.training.sources.video import read_numbered_frames

Line = dict[str, Any]


class DexdataReader:
    """The episodes of a folder. Raises `SourceError` where it does not fit its settings.

    States and actions have no names: their numbers are the layout's columns in their order,
    unless ``columns`` gives positions.
    """

    def __init__(self, settings: SourceSettings, layout: Layout | None) -> None:
        self._settings, self._layout = settings, layout
        self._paths = find_episodes(settings.folder)
        self._last: tuple[int, list[Line]] | None = None  # what was read last
        self.lengths = [_count_lines(path) for path in self._paths]
        if layout is not None and settings.fps is None:
            message = "is missing, and Dexdata do not say it; add the frames per second"
            raise SourceError(message, key=("fps",))

    def title(self, episode: int) -> str:
        """What an episode is called in messages."""
        return f"{self._settings.title} {self._paths[episode].relative_to(self._settings.folder)}"

    def lines(self, episode: int) -> list[Line]:
        """What an episode's lines hold."""
        if self._last is None or self._last[0] != episode:
            self._last = episode, self._read_lines(episode)
        return self._last[1]

    def track(self, episode: int) -> Track:
        """The numbers of an episode of a robot."""
        name, lines = self.title(episode), self.lines(episode)
        if not all(line["is_robot"] for line in lines):
            raise BrokenEpisodeError(
                f"{name}: has lines with 'is_robot: false'; put them into a source without a robot"
            )
        actions = None
        if self._settings.actions is ActionSource.ACTION:
            actions = self._stack(lines, "action", self._layout.columns, name)
        dialogues = [
            read_dialogue(line, f"{name}: line {number}") for number, line in enumerate(lines, 1)
        ]
        return Track(
            times=np.arange(len(lines)) / self._settings.fps,
            states=self._stack(lines, "state", self._layout.state_columns, name),
            actions=actions,
            instructions=tuple(question for question, _ in dialogues),
            answers=tuple(answer for _, answer in dialogues),
        )

    def pictures(
        self, episode: int, frames: Sequence[int], times: Sequence[float] = ()
    ) -> Iterator[dict[str, np.ndarray]]:
        """Pictures by slot at the frames, which rise, decoded one after another.

        Lines say which picture is theirs, so ``times`` are of no use.
        """
        frames, lines, name = list(frames), self.lines(episode), self.title(episode)
        cameras = self._settings.cameras
        streams = [self._stream([lines[frame] for frame in frames], key, name) for key in cameras]
        for _ in frames:
            views = (next(stream) for stream in streams)
            pairs = zip(cameras.values(), views, strict=True)
            yield {slot: picture for slot, picture in pairs if picture is not None}

    def _read_lines(self, episode: int) -> list[Line]:
        name = self.title(episode)
        try:
            with self._paths[episode].open(encoding="utf-8") as file:
                lines = [json.loads(text) for text in file if text.strip()]
        except (OSError, ValueError) as cause:
            raise BrokenEpisodeError(f"{name}: cannot be read ({cause})") from cause
        for number, line in enumerate(lines, 1):
            if not isinstance(line, dict) or not isinstance(line.get("is_robot"), bool):
                raise BrokenEpisodeError(f"{name}: line {number} does not say 'is_robot'")
        return lines

    def _stack(
        self, lines: Sequence[Line], key: str, columns: Sequence[str], name: str
    ) -> np.ndarray:
        missing = [number for number, line in enumerate(lines, 1) if key not in line]
        if missing:
            raise BrokenEpisodeError(f"{name}: line {missing[0]} has no '{key}'")
        try:
            values = np.array([line[key] for line in lines], np.float64)
        except (TypeError, ValueError) as cause:
            raise BrokenEpisodeError(f"{name}: {key} is not as wide everywhere") from cause
        if not self._settings.columns:
            return values
        names = [str(index) for index in range(values.shape[-1])]
        return values[:, choose_columns(columns, names, self._settings.columns, f"{name}: {key}")]

    def _stream(self, lines: Sequence[Line], key: str, name: str) -> Iterator[np.ndarray | None]:
        """Pictures of one camera; None where a line has none. A video is decoded in one go."""
        start = 0
        while start < len(lines):
            entry = lines[start].get(key)
            kind = entry.get("type") if isinstance(entry, dict) else entry
            if kind is None:
                yield None
                start += 1
            elif kind == "image":
                yield _read_picture(self._resolve(entry, name), name)
                start += 1
            elif kind == "video":
                stop = _end_of_run(lines, key, start)
                yield from self._read_video([line[key] for line in lines[start:stop]], name)
                start = stop
            else:
                raise BrokenEpisodeError(f"{name}: {key} is neither a video nor an image: {entry}")

    def _read_video(self, entries: Sequence[Line], name: str) -> Iterator[np.ndarray]:
        try:
            indices = [int(entry["frame_idx"]) for entry in entries]
        except (KeyError, TypeError, ValueError) as cause:
            raise BrokenEpisodeError(f"{name}: a video has no 'frame_idx'") from cause
        return read_numbered_frames(self._resolve(entries[0], name), indices, name)

    def _resolve(self, entry: Line, name: str) -> Path:
        """The file of a picture, which must lie in the folder of media."""
        folder = Path(self._settings.media or self._settings.path).expanduser().resolve()
        path = (folder / str(entry.get("url"))).resolve()
        if not path.is_relative_to(folder):
            raise BrokenEpisodeError(
                f"{name}: {entry.get('url')} is outside of {folder}; set 'media' to the folder "
                "that pictures lie in"
            )
        return path


class TextSource:
    """A `Source` of questions about pictures, without a robot."""

    layout = embodiment = None

    def __init__(self, settings: SourceSettings) -> None:
        self.name = settings.title
        self.weight, self.skip_broken = settings.weight, settings.skip_broken
        self._settings, self._reader = settings, DexdataReader(settings, None)

    def __len__(self) -> int:
        return len(self._reader.lengths)

    def size(self, episode: int) -> int:
        """Number of samples of an episode."""
        return -(-self._reader.lengths[episode] // self._settings.every)

    def episode(self, episode: int) -> Iterator[Sample]:
        """Every sample of an episode, one at a time."""
        return self.take(episode, range(self.size(episode)))

    def take(self, episode: int, indices: Sequence[int]) -> Iterator[Sample]:
        """The samples of those indices, which rise, one at a time."""
        name, lines = self._reader.title(episode), self._reader.lines(episode)
        frames = [index * self._settings.every for index in indices]
        for frame, pictures in zip(frames, self._reader.pictures(episode, frames), strict=True):
            where = f"{name}: line {frame + 1}"
            question, answer = read_dialogue(lines[frame], where)
            if answer is None:
                raise BrokenEpisodeError(f"{where} has no answer, and no robot's rows to learn")
            yield Sample(pictures, question, None, None, answer, None, self.name)

    def numbers(self, episode: int) -> Numbers | None:
        """None: there are none."""
        return None


def find_episodes(folder: Path) -> list[Path]:
    """The JSON lines files below a folder; raises `SourceError` where there are none."""
    paths = sorted(folder.rglob("*.jsonl"))
    if not paths:
        raise SourceError(f"{folder}: has no *.jsonl, so it is no Dexdata; check 'path'")
    return paths


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())


def _end_of_run(lines: Sequence[Line], key: str, start: int) -> int:
    """Up to where lines show frames of the same video, one after the other."""
    first = last = lines[start][key]
    stop = start + 1
    while stop < len(lines):
        entry = lines[stop].get(key)
        if not isinstance(entry, dict) or entry.get("url") != first.get("url"):
            break
        if entry.get("frame_idx", -1) < last.get("frame_idx", 0):
            break
        last, stop = entry, stop + 1
    return stop


def _read_picture(path: Path, name: str) -> np.ndarray:
    try:
        return np.asarray(Image.open(path).convert("RGB"))
    except OSError as cause:
        raise BrokenEpisodeError(f"{name}: picture {path} cannot be read ({cause})") from cause
