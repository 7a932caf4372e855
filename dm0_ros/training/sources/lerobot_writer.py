# SPDX-License-Identifier: Apache-2.0
"""Episodes written as a folder of the LeRobot dataset format, version 3. See `lerobot`."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from pyarrow import parquet

from dm0_ros.training.sources.lerobot import ABOUT, ACTION, EPISODES, INFO, STATE, TASKS
from dm0_ros.training.sources.lerobot_stats import FeatureStats
from dm0_ros.training.sources.sample import SourceError
from dm0_ros.training.sources.video_writer import VideoWriter

_CHUNK_SIZE = 1000  # files in a folder
_SEEN_BY_STATS = 10  # of so many pictures one
_FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
_INTEGERS = ("frame_index", "episode_index", "index", "task_index")


@dataclass(frozen=True, eq=False)
class Episode:
    """F frames to be written. Pictures are taken one at a time, so they may be made on the way."""

    instruction: str
    states: np.ndarray  # (F, S)
    actions: np.ndarray  # (F, C)
    pictures: Mapping[str, Iterable[np.ndarray]]  # (height, width, 3) uint8 RGB by camera


@dataclass(frozen=True)
class Description:
    """What all episodes of a folder share."""

    fps: int
    states: tuple[str, ...]  # names of the numbers
    actions: tuple[str, ...]
    cameras: dict[str, tuple[int, int]] = field(default_factory=dict)  # height, width by name
    robot: str = "unknown"
    codec: str = "h264"  # of the videos, as ffmpeg calls it
    data_megabytes: int = 100  # after which another file is begun
    video_megabytes: int = 200
    about: dict[str, Any] = field(default_factory=dict)  # where the data come from

    def features(self) -> dict[str, dict[str, Any]]:
        """The features of meta/info.json."""
        listed = {
            STATE: _describe("float32", [len(self.states)], list(self.states)),
            ACTION: _describe("float32", [len(self.actions)], list(self.actions)),
        }
        for name, (height, width) in self.cameras.items():
            shape, names = [height, width, 3], ["height", "width", "channels"]
            listed[camera_key(name)] = _describe("video", shape, names) | {
                "info": {
                    "video.fps": self.fps,
                    "video.height": height,
                    "video.width": width,
                    "video.channels": 3,
                    "video.codec": self.codec,
                    "video.pix_fmt": "yuv420p",
                    "video.is_depth_map": False,
                    "has_audio": False,
                }
            }
        listed["timestamp"] = _describe("float32", [1], None)
        return listed | {name: _describe("int64", [1], None) for name in _INTEGERS}


def camera_key(name: str) -> str:
    """What a camera is called in the data."""
    return f"observation.images.{name}"


def write_lerobot(
    folder: str | Path, episodes: Iterable[Episode], description: Description
) -> Path:
    """Write episodes, taken one at a time, into a new folder; returns it.

    The folder appears when all of it is written. Raises `SourceError` where it is there already,
    or an episode is not as described; nothing is left behind then but ``<folder>.unfinished``.
    """
    folder = Path(folder)
    unfinished = folder.with_name(folder.name + ".unfinished")
    for path in (folder, unfinished):
        if path.exists():
            raise SourceError(f"{path} exists; remove it, or choose another name")
    with _Writer(unfinished, description) as writer:
        for episode in episodes:
            writer.add(episode)
    unfinished.rename(folder)
    return folder


class _Writer:
    """Rows and pictures go to their files as they come; what describes them at the end."""

    def __init__(self, folder: Path, description: Description) -> None:
        self._folder, self._description = folder, description
        self._tasks: dict[str, int] = {}
        self._records: list[dict[str, Any]] = []
        self._stats = FeatureStats()
        self._frames = 0
        self._data = _DataWriter(folder / "data", description.data_megabytes * 2**20)
        self._videos = {
            name: VideoWriter(
                partial(_place, folder / "videos" / camera_key(name), "mp4"),
                description.fps,
                size,
                description.codec,
                description.video_megabytes * 2**20,
            )
            for name, size in description.cameras.items()
        }

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        for writer in (self._data, *self._videos.values()):
            writer.close()
        if kind is None:
            self._write_meta()

    def add(self, episode: Episode) -> None:
        number, count = len(self._records), len(episode.states)
        _check(episode, self._description, number)
        stats = FeatureStats()
        places = self._write_pictures(episode, number, stats)
        columns = self._number(episode, number)
        for key, values in columns.items():
            stats.add_rows(key, values)
        self._data.add(columns)
        record = {"episode_index": number, "tasks": [episode.instruction], "length": count}
        record |= _name_file("data", self._data.number) | places | _name_file("meta/episodes", 0)
        record |= {"dataset_from_index": self._frames, "dataset_to_index": self._frames + count}
        self._records.append(record | stats.flat())
        self._stats.merge(stats)
        self._frames += count

    def _number(self, episode: Episode, number: int) -> dict[str, np.ndarray]:
        """Every column of an episode's rows."""
        count = len(episode.states)
        task = self._tasks.setdefault(episode.instruction, len(self._tasks))
        return {
            STATE: np.asarray(episode.states, np.float32),
            ACTION: np.asarray(episode.actions, np.float32),
            "timestamp": (np.arange(count) / self._description.fps).astype(np.float32),
            "frame_index": np.arange(count),
            "episode_index": np.full(count, number),
            "index": np.arange(self._frames, self._frames + count),
            "task_index": np.full(count, task),
        }

    def _write_pictures(
        self, episode: Episode, number: int, stats: FeatureStats
    ) -> dict[str, Any]:
        places, count = {}, len(episode.states)
        for name, video in self._videos.items():
            key = camera_key(name)
            first = video.begin()
            written = video.add(_watch(episode.pictures[name], stats, key))
            if written != count:
                raise SourceError(
                    f"episode {number}: camera {name} has {written} pictures for {count} states"
                )
            places |= _name_file(f"videos/{key}", video.number)
            places[f"videos/{key}/from_timestamp"] = first
            places[f"videos/{key}/to_timestamp"] = first + count / self._description.fps
        return places

    def _write_meta(self) -> None:
        path = _place(self._folder / EPISODES, "parquet", 0)
        parquet.write_table(pyarrow.Table.from_pylist(self._records), path)
        parquet.write_table(_index_tasks(self._tasks), self._folder / TASKS)
        _write_json(self._folder / "meta" / "stats.json", self._stats.nested())
        description = self._description
        info = {
            "codebase_version": "v3.0",
            "robot_type": description.robot,
            "total_episodes": len(self._records),
            "total_frames": self._frames,
            "total_tasks": len(self._tasks),
            "chunks_size": _CHUNK_SIZE,
            "data_files_size_in_mb": description.data_megabytes,
            "video_files_size_in_mb": description.video_megabytes,
            "fps": description.fps,
            "splits": {"train": f"0:{len(self._records)}"},
            "data_path": f"data/{_FILE}.parquet",
            "video_path": f"videos/{{video_key}}/{_FILE}.mp4" if self._videos else None,
            "features": description.features(),
        }
        if description.about:
            _write_json(self._folder / ABOUT, description.about)
        _write_json(self._folder / INFO, info)


class _DataWriter:
    """Rows of episodes into one Parquet file after another, each a row group of its own."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.number = -1  # of the file that is being written
        self._folder, self._limit = folder, limit
        self._file: parquet.ParquetWriter | None = None

    def add(self, columns: dict[str, np.ndarray]) -> None:
        table = pyarrow.table({key: _to_arrow(values) for key, values in columns.items()})
        if self._file is None or Path(self._file.where).stat().st_size > self._limit:
            self.close()
            self.number += 1
            path = _place(self._folder, "parquet", self.number)
            self._file = parquet.ParquetWriter(path, table.schema)
        self._file.write_table(table)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _check(episode: Episode, description: Description, number: int) -> None:
    expected = {"states": description.states, "actions": description.actions}
    for what, names in expected.items():
        shape = np.shape(getattr(episode, what))
        if len(shape) != 2 or shape[1] != len(names) or shape[0] != len(episode.states):
            raise SourceError(
                f"episode {number}: its {what} have shape {shape}; expected a row of "
                f"{len(names)} for each of {len(episode.states)} frames"
            )
    if not len(episode.states):
        raise SourceError(f"episode {number}: has no frames; leave it out")
    if set(episode.pictures) != set(description.cameras):
        raise SourceError(
            f"episode {number}: has cameras {', '.join(episode.pictures) or 'none'}; expected "
            f"{', '.join(description.cameras) or 'none'}"
        )


def _watch(pictures: Iterable[np.ndarray], stats: FeatureStats, key: str) -> Iterator[np.ndarray]:
    """The pictures; statistics see some of them."""
    for index, picture in enumerate(pictures):
        if index % _SEEN_BY_STATS == 0:
            stats.add_picture(key, picture)
        yield picture


def _describe(kind: str, shape: list[int], names: list[str] | None) -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "names": names}


def _name_file(what: str, number: int) -> dict[str, int]:
    chunk, file = divmod(number, _CHUNK_SIZE)
    return {f"{what}/chunk_index": chunk, f"{what}/file_index": file}


def _place(folder: Path, suffix: str, number: int) -> Path:
    """The path of a file, whose folder is made."""
    chunk, file = divmod(number, _CHUNK_SIZE)
    path = folder / f"{_FILE.format(chunk_index=chunk, file_index=file)}.{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _to_arrow(values: np.ndarray) -> pyarrow.Array:
    if values.ndim == 1:
        return pyarrow.array(values)
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pyarrow.ListArray.from_arrays(offsets, pyarrow.array(values.reshape(-1)))


def _index_tasks(tasks: dict[str, int]) -> pyarrow.Table:
    """Sentences are pandas' index, for that is where LeRobot looks for them."""
    table = pyarrow.table({"task_index": list(tasks.values()), "task": list(tasks)})
    kinds = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}
    columns = [
        {"name": n, "field_name": n, "pandas_type": p, "numpy_type": t, "metadata": None}
        for n, (p, t) in kinds.items()
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": columns}
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=4), encoding="utf-8")
