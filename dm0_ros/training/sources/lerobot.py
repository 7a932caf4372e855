# SPDX-License-Identifier: Apache-2.0
"""Folders of the LeRobot dataset format, version 3.

Format: https://huggingface.co/docs/lerobot/lerobot-dataset-v3. Numbers of many episodes lie in one
Parquet file, pictures of many episodes in one video a camera; ``meta/episodes`` says which rows
and which seconds are whose.
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dm0_ros.robots.spec import Layout
from dm0_ros.training.sources.chunks import Track
from dm0_ros.training.sources.columns import choose_columns
from dm0_ros.training.sources.sample import BrokenEpisodeError, SourceError
from dm0_ros.training.sources.settings import ActionSource, SourceSettings
from dm0_ros.training.sources.tables import Table, read_episode_rows, read_table
from dm0_ros.training.sources.video import read_frames

STATE, ACTION = "observation.state", "action"
INFO, TASKS, EPISODES = "meta/info.json", "meta/tasks.parquet", "meta/episodes"
ABOUT = "meta/dm0_ros.json"  # where data of ours come from; LeRobot passes it over


@dataclass(frozen=True)
class Info:
    """What meta/info.json says: rates, features and where the files are."""

    fps: float
    features: dict[str, dict[str, Any]]
    data_path: str
    video_path: str | None

    def names(self, key: str) -> list[str]:
        """Names of a feature's numbers; their positions where it has none."""
        names = self.features[key].get("names")
        if isinstance(names, dict):  # grouped, such as {"motors": [...]}
            names = [name for group in names.values() for name in group]
        size = int(np.prod(self.features[key]["shape"]))
        return list(names) if names and len(names) == size else [str(i) for i in range(size)]


def load_info(folder: Path) -> Info:
    """Read meta/info.json. Raises `SourceError` where it is absent or of another version."""
    path = folder / INFO
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = str(content["codebase_version"])
        if not version.startswith("v3."):
            raise SourceError(
                f"{path}: is of format {version}, this reads v3; convert it with lerobot's "
                "scripts/convert_dataset_v21_to_v30.py"
            )
        return Info(
            float(content["fps"]),
            content["features"],
            content["data_path"],
            content.get("video_path"),
        )
    except OSError as cause:
        message = f"{path}: cannot be read ({cause.strerror}); is {folder} a LeRobot dataset?"
        raise SourceError(message) from cause
    except (ValueError, TypeError, KeyError) as cause:
        message = f"{path}: is not as LeRobot writes it ({cause!r}); fetch it again"
        raise SourceError(message) from cause


class LeRobotReader:
    """The episodes of a folder. Raises `SourceError` where it does not fit its settings."""

    def __init__(self, settings: SourceSettings, layout: Layout) -> None:
        self._folder, self._settings = settings.folder, settings
        self._info = info = load_info(self._folder)
        if settings.fps not in (None, info.fps):
            where = self._folder / INFO
            message = f"is {settings.fps:g}, but {where} says {info.fps:g}; leave it out"
            raise SourceError(message, key=("fps",))
        self._order = {STATE: self._choose(STATE, layout.state_columns)}
        if settings.actions is ActionSource.ACTION:
            self._order[ACTION] = self._choose(ACTION, layout.columns)
        self._check_cameras()
        self._tasks = self._load_tasks()
        self._episodes = self._load_episodes()
        self.lengths = self._episodes["length"]

    def title(self, episode: int) -> str:
        """What an episode is called in messages."""
        return f"{self._settings.title} episode {self._episodes['episode_index'][episode]}"

    def name_frame(self, episode: int, frame: int) -> str:
        """What a frame is called in messages."""
        return f"{self.title(episode)}: frame {frame}"

    def talks(self) -> bool:
        """No: the format has no answers."""
        return False

    def track(self, episode: int) -> Track:
        """The numbers of an episode."""
        name = self.title(episode)
        rows = self._rows(episode, ["timestamp", "task_index", *self._order])
        numbers = {key: _stack(rows[key], name, key) for key in self._order}
        for key, values in numbers.items():
            width = len(self._info.names(key))
            if values.shape[1] != width:
                message = f"{name}: {key} is {values.shape[1]} numbers wide, {INFO} says {width}"
                raise BrokenEpisodeError(message)
        action = numbers.get(ACTION)
        return Track(
            times=np.asarray(rows["timestamp"], np.float64).reshape(-1),
            states=numbers[STATE][:, self._order[STATE]],
            actions=None if action is None else action[:, self._order[ACTION]],
            instructions=tuple(self._task(int(index), name) for index in rows["task_index"]),
        )

    def pictures(
        self, episode: int, frames: Sequence[int], times: Sequence[float]
    ) -> Iterator[dict[str, np.ndarray]]:
        """Pictures by slot at the frames, which rise, decoded one after another."""
        cameras = self._settings.cameras
        streams = [self._stream(episode, key, frames, times) for key in cameras]
        for _ in frames:
            yield {
                slot: next(stream) for slot, stream in zip(cameras.values(), streams, strict=True)
            }

    def _choose(self, key: str, columns: Sequence[str]) -> np.ndarray:
        if key not in self._info.features:
            known = ", ".join(self._info.features)
            raise SourceError(f"{self._folder / INFO}: has no feature {key}, only {known}")
        where = f"{self._folder / INFO}: features.{key}.names"
        return choose_columns(columns, self._info.names(key), self._settings.columns, where)

    def _check_cameras(self) -> None:
        features = self._info.features
        known = [key for key, item in features.items() if item["dtype"] in ("video", "image")]
        for key in self._settings.cameras:
            if key not in known:
                message = f"the data have no camera '{key}', only {', '.join(known) or 'none'}"
                raise SourceError(message, key=("cameras", key))

    def _load_tasks(self) -> dict[int, str]:
        table = read_table(self._folder / TASKS)
        # the sentence is an index of pandas, whose column is called so where it has no name
        text = "task" if "task" in table else "__index_level_0__"
        if text not in table or "task_index" not in table:
            message = f"{self._folder / TASKS}: has no task and task_index; fetch it again"
            raise SourceError(message)
        indices = (int(index) for index in table["task_index"])
        return dict(zip(indices, table[text], strict=True))

    def _task(self, index: int, name: str) -> str:
        if index not in self._tasks:
            raise BrokenEpisodeError(f"{name}: its task {index} is not in {TASKS}")
        return self._tasks[index]

    def _load_episodes(self) -> Table:
        """Where the rows and pictures of each episode are, in the order of their numbers."""
        columns = ["episode_index", "length", "data/chunk_index", "data/file_index"]
        columns += ["dataset_from_index", "dataset_to_index"]
        for key in self._videos():
            columns += [f"videos/{key}/{what}" for what in ("chunk_index", "file_index")]
            columns += [f"videos/{key}/from_timestamp"]
        folder = self._folder / EPISODES
        paths = sorted(folder.glob("*/*.parquet"))
        if not paths:
            raise SourceError(f"{folder}: has no chunk-*/file-*.parquet; fetch the data again")
        tables = [read_table(path, columns) for path in paths]
        joined = {key: np.concatenate([table[key] for table in tables]) for key in columns}
        order = np.argsort(joined["episode_index"])
        joined = {key: values[order] for key, values in joined.items()}
        files = np.stack([joined["data/chunk_index"], joined["data/file_index"]], axis=1)
        _, which = np.unique(files, axis=0, return_inverse=True)
        first = np.full(which.max() + 1, np.iinfo(np.int64).max)
        np.minimum.at(first, which.reshape(-1), joined["dataset_from_index"])
        joined["first_row"] = joined["dataset_from_index"] - first[which.reshape(-1)]
        return joined

    def _videos(self) -> list[str]:
        features = self._info.features
        return [key for key in self._settings.cameras if features[key]["dtype"] == "video"]

    def _rows(self, episode: int, columns: Sequence[str]) -> Table:
        meta = self._episodes
        place = {f"{what}_index": int(meta[f"data/{what}_index"][episode]) for what in _FILE}
        path = self._folder / self._info.data_path.format(**place)
        start, name = int(meta["first_row"][episode]), self.title(episode)
        stop = start + int(meta["length"][episode])
        rows = read_episode_rows(path, ["episode_index", *columns], start, stop, name)
        expected = meta["episode_index"][episode]
        if len(rows["episode_index"]) != stop - start or np.any(rows["episode_index"] != expected):
            raise BrokenEpisodeError(f"{name}: {path} has not the rows that {EPISODES} says")
        return rows

    def _stream(
        self, episode: int, key: str, frames: Sequence[int], times: Sequence[float]
    ) -> Iterator[np.ndarray]:
        if self._info.features[key]["dtype"] == "image":
            stored = self._rows(episode, [key])[key]
            name = self.title(episode)
            return (_read_picture(stored[frame], self._folder, name) for frame in frames)
        meta = self._episodes
        place = {f"{w}_index": int(meta[f"videos/{key}/{w}_index"][episode]) for w in _FILE}
        path = self._folder / self._info.video_path.format(video_key=key, **place)
        start = float(meta[f"videos/{key}/from_timestamp"][episode])
        due = [start + time for time in times]
        return read_frames(path, due, 0.5 / self._info.fps, self.title(episode))


_FILE = ("chunk", "file")


def _stack(values: Sequence[Any], name: str, key: str) -> np.ndarray:
    """Lists of numbers as (F, N) float64."""
    try:
        stacked = np.array([np.atleast_1d(value) for value in values], np.float64)
    except (TypeError, ValueError) as cause:
        message = f"{name}: {key} has lists of different lengths, or no numbers ({cause})"
        raise BrokenEpisodeError(message) from cause
    return stacked.reshape(len(values), -1)


def _read_picture(stored: dict[str, Any], folder: Path, name: str) -> np.ndarray:
    """A picture that lies in a table, as bytes or as the path of a file."""
    try:
        source = io.BytesIO(stored["bytes"]) if stored["bytes"] else folder / stored["path"]
        return np.asarray(Image.open(source).convert("RGB"))
    except (OSError, KeyError, TypeError) as cause:
        raise BrokenEpisodeError(f"{name}: a picture cannot be read ({cause})") from cause
