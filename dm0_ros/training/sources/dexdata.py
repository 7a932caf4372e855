# SPDX-License-Identifier: Apache-2.0
"""Folders of Dexdata, the JSON lines of Dexbotic: a file an episode, a line a frame.

Format: docs/Data.md of github.com/dexmal/dexbotic. Lines of a robot have a state, a prompt and
perhaps an action and an answer; lines with ``is_robot: false`` are questions about pictures.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dm0_ros.robots.spec import Layout
from dm0_ros.training.sources.chunks import Track
from dm0_ros.training.sources.columns import choose_columns
from dm0_ros.training.sources.dialogue import read_dialogue
from dm0_ros.training.sources.json_lines import JsonLines, Line
from dm0_ros.training.sources.sample import BrokenEpisodeError, Numbers, Sample, SourceError
from dm0_ros.training.sources.settings import ActionSource, SourceSettings
from dm0_ros.training.sources.video import read_numbered_frames


class _Moment(NamedTuple):
    """What a line of a robot says beside its pictures."""

    state: Any
    action: Any
    question: str
    answer: str | None


class DexdataReader:
    """The episodes of a folder. Raises `SourceError` where it does not fit its settings.

    States and actions have no names: their numbers are the layout's columns in their order,
    unless ``columns`` gives positions.
    """

    def __init__(self, settings: SourceSettings, layout: Layout | None) -> None:
        self._settings, self._layout = settings, layout
        self._paths = find_episodes(settings.folder)
        self._files = JsonLines(self._paths)
        self.lengths = [self._files.count(file) for file in range(len(self._paths))]
        if layout is not None and settings.fps is None:
            message = "is missing, and Dexdata do not say it; add the frames per second"
            raise SourceError(message, key=("fps",))
        self._check_cameras()

    def title(self, episode: int) -> str:
        """What an episode is called in messages."""
        return f"{self._settings.title} {self._paths[episode].relative_to(self._settings.folder)}"

    def name_frame(self, episode: int, frame: int) -> str:
        """What a frame is called in messages: a line, counted from 1."""
        return f"{self.title(episode)}: line {frame + 1}"

    def talks(self) -> bool:
        """Whether a line has an answer; reads no further than the first that has."""
        return any(self._find_answer(episode) for episode in range(len(self.lengths)))

    def lines(self, episode: int, frames: Sequence[int]) -> Iterator[Line]:
        """What an episode's lines say at those frames, read one at a time."""
        name = self.title(episode)
        for frame, line in zip(frames, self._files.read(episode, frames, name), strict=True):
            if not isinstance(line.get("is_robot"), bool):
                where = self.name_frame(episode, frame)
                raise BrokenEpisodeError(f"{where} does not say 'is_robot'")
            yield line

    def track(self, episode: int) -> Track:
        """The numbers of an episode of a robot."""
        name, count = self.title(episode), self.lengths[episode]
        moments = [
            self._read_moment(line, self.name_frame(episode, frame))
            for frame, line in enumerate(self.lines(episode, range(count)))
        ]
        actions = None
        if self._settings.actions is ActionSource.ACTION:
            values = [moment.action for moment in moments]
            actions = self._stack(values, self._layout.columns, f"{name}: action")
        states = [moment.state for moment in moments]
        return Track(
            times=np.arange(count) / self._settings.fps,
            states=self._stack(states, self._layout.state_columns, f"{name}: state"),
            actions=actions,
            instructions=tuple(moment.question for moment in moments),
            answers=tuple(moment.answer for moment in moments),
        )

    def pictures(
        self, episode: int, frames: Sequence[int], times: Sequence[float] = ()
    ) -> Iterator[dict[str, np.ndarray]]:
        """Pictures by slot at the frames, which rise, decoded one after another.

        Lines say which picture is theirs, so ``times`` are of no use.
        """
        return self.show(list(self.lines(episode, frames)), self.title(episode))

    def show(self, lines: Sequence[Line], name: str) -> Iterator[dict[str, np.ndarray]]:
        """Pictures by slot of some lines of the episode with that ``name``."""
        cameras = self._settings.cameras
        streams = [self._stream(lines, key, name) for key in cameras]
        for _ in lines:
            views = (next(stream) for stream in streams)
            pairs = zip(cameras.values(), views, strict=True)
            yield {slot: picture for slot, picture in pairs if picture is not None}

    def _check_cameras(self) -> None:
        """A line may lack a view. What no line of the first readable file has is no camera."""
        for episode in np.flatnonzero(self.lengths):
            try:
                absent, known = self._find_cameras(int(episode))
            except BrokenEpisodeError:
                continue  # which is said when it is drawn
            if absent:
                have = ", ".join(known) or "none"
                message = f"{self.title(int(episode))} has no camera '{absent[0]}', only {have}"
                raise SourceError(message, key=("cameras", absent[0]))
            return

    def _find_cameras(self, episode: int) -> tuple[list[str], list[str]]:
        """Which of the settings' cameras no line of an episode has, and which it has."""
        known: dict[str, None] = {}
        absent = list(self._settings.cameras)
        for line in self.lines(episode, range(self.lengths[episode])):
            known |= {key: None for key, entry in line.items() if isinstance(entry, dict)}
            absent = [key for key in absent if key not in known]
            if not absent:
                break
        return absent, list(known)

    def _find_answer(self, episode: int) -> bool:
        lines = enumerate(self.lines(episode, range(self.lengths[episode])))
        try:
            dialogues = (read_dialogue(line, self.name_frame(episode, n)) for n, line in lines)
            return any(answer is not None for _, answer in dialogues)
        except BrokenEpisodeError:
            return False  # which is said when it is drawn

    def _read_moment(self, line: Line, where: str) -> _Moment:
        if not line["is_robot"]:
            raise BrokenEpisodeError(
                f"{where} has 'is_robot: false'; put such lines into a source without a robot"
            )
        wanted = ["state"]
        if self._settings.actions is ActionSource.ACTION:
            wanted.append("action")
        for key in wanted:
            if key not in line:
                raise BrokenEpisodeError(f"{where} has no '{key}'")
        return _Moment(line["state"], line.get("action"), *read_dialogue(line, where))

    def _stack(self, values: Sequence[Any], columns: Sequence[str], where: str) -> np.ndarray:
        try:
            stacked = np.array(values, np.float64)
        except (TypeError, ValueError) as cause:
            raise BrokenEpisodeError(f"{where} is not as wide everywhere") from cause
        if not self._settings.columns:
            return stacked
        names = [str(index) for index in range(stacked.shape[-1])]
        return stacked[:, choose_columns(columns, names, self._settings.columns, where)]

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
        self.slots = tuple(settings.cameras.values())

    def __len__(self) -> int:
        return len(self._reader.lengths)

    def talks(self) -> bool:
        """Yes: that is what it is for."""
        return True

    def size(self, episode: int) -> int:
        """Number of samples of an episode."""
        return -(-self._reader.lengths[episode] // self._settings.every)

    def name_sample(self, episode: int, index: int) -> str:
        """What a sample is called in messages."""
        return self._reader.name_frame(episode, index * self._settings.every)

    def episode(self, episode: int) -> Iterator[Sample]:
        """Every sample of an episode, one at a time."""
        return self.take(episode, range(self.size(episode)))

    def take(self, episode: int, indices: Sequence[int]) -> Iterator[Sample]:
        """The samples of those indices, which rise, one at a time."""
        frames = [index * self._settings.every for index in indices]
        lines = list(self._reader.lines(episode, frames))
        views = self._reader.show(lines, self._reader.title(episode))
        for frame, line, pictures in zip(frames, lines, views, strict=True):
            where = self._reader.name_frame(episode, frame)
            question, answer = read_dialogue(line, where)
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
