# SPDX-License-Identifier: Apache-2.0
"""An episode of a dataset as a bag, to look at it with what looks at bags."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dm0_ros.datasets.commands import READABLE
from dm0_ros.datasets.messages import MessageWriter
from dm0_ros.errors import Dm0Error
from dm0_ros.policy.marks import MARKS_TOPIC, Mark
from dm0_ros.policy.trace import find_commit, find_version
from dm0_ros.replay.layout import JOINTS
from dm0_ros.robots.loading import load_robot
from dm0_ros.robots.spec import RobotSpec, Sink, SinkKind, Space
from dm0_ros.training.sources.chunks import Track
from dm0_ros.training.sources.episodes import Reader
from dm0_ros.training.sources.lerobot import ABOUT, INFO, LeRobotReader, load_info
from dm0_ros.training.sources.settings import ActionSource, SourceKind, SourceSettings
from dm0_ros.training.sources.stored import INDEX, StoredIndex, StoredReader

SOURCE = "dataset"
"""Of the marks in such a bag."""
_LONG_AGO = 946_684_800.0  # s since 1970: the beginning of 2000, for data that do not say when
_QUALITY = 95  # of JPEG


@dataclass(frozen=True)
class _Dataset:
    """A folder, its reader and what it says of itself."""

    reader: Reader
    robot: RobotSpec
    layout: str
    about: Mapping[str, Any]
    strange: tuple[str, ...]  # cameras that are none of the robot's


@dataclass(frozen=True)
class Written:
    """What became a bag."""

    messages: int
    seconds: float
    instruction: str
    strange: tuple[str, ...]  # cameras that are none of the robot's, and left out


def write_bag(folder: Path, episode: int, out: Path, robot: str = "", layout: str = "") -> Written:
    """Write an episode, counted from 0, as the new bag ``out``.

    ``robot`` and ``layout`` need not be named for data that `from_bags` wrote. Raises `Dm0Error`
    where ``folder`` is no dataset, has no such episode, or has no joint positions.
    """
    data = _open(folder, robot, layout)
    count = len(data.reader.lengths)
    if not 0 <= episode < count:
        raise Dm0Error(f"{folder}: has no episode {episode}; its {count} are 0 to {count - 1}")
    track = data.reader.track(episode)
    writer = MessageWriter(out)
    try:
        _write(writer, data, episode, track)
        writer.bag.describe(_describe(folder, episode, data))
    except BaseException:
        writer.bag.close()
        shutil.rmtree(out)
        raise
    writer.bag.close()
    seconds = float(track.times[-1] - track.times[0])
    return Written(writer.count, seconds, track.instructions[0], data.strange)


def _open(folder: Path, robot: str, layout: str) -> _Dataset:
    """A dataset of either format."""
    if (folder / INDEX).is_file():
        index = StoredIndex.load(folder)
        kind, about = SourceKind.EPISODES, index.about
        cameras = {name: name for name in index.cameras}
        robot, layout = robot or index.robot, layout or index.layout
    elif (folder / INFO).is_file():
        features = load_info(folder).features
        videos = [key for key, item in features.items() if item["dtype"] in ("video", "image")]
        kind, about = SourceKind.LEROBOT, _read_about(folder / ABOUT)
        cameras = {key: key.rsplit(".", 1)[-1] for key in videos}
        robot, layout = robot or about.get("robot", ""), layout or about.get("layout", "")
    else:
        raise Dm0Error(f"{folder}: has neither {INDEX} nor {INFO}, so it is no dataset")
    if not robot or not layout:
        raise Dm0Error(f"{folder}: does not say which robot it is of; add --robot and --layout")
    spec = load_robot(robot)
    columns = spec.layout(layout)
    if columns.space is not Space.JOINT_POSITION:
        raise Dm0Error(f"{folder}: layout {layout} has poses, and bags have joint positions")
    known = {key: slot for key, slot in cameras.items() if slot in spec.camera_slots}
    settings = SourceSettings(
        kind=kind,
        path=str(folder),
        cameras=known,
        robot=robot,
        layout=layout,
        actions=ActionSource.ACTION,
        step=1.0,  # chunks are not asked for
    )
    make = StoredReader if kind is SourceKind.EPISODES else LeRobotReader
    reader = make(settings, columns)
    return _Dataset(reader, spec, layout, about, tuple(sorted(set(cameras) - set(known))))


def _read_about(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as cause:
        raise Dm0Error(f"{path}: cannot be read ({cause}); make the dataset again") from cause


def _write(writer: MessageWriter, data: _Dataset, episode: int, track: Track) -> None:
    """Every row at its time: measurements, commands and pictures; marks around them."""
    robot, columns = data.robot, data.robot.layout(data.layout)
    times = _find_begin(data, episode) + track.times - track.times[0]
    openings = {g.name: g.opening_per_joint for g in robot.grippers}
    scales = np.array([openings.get(name, 1.0) for name in columns.state_columns])
    states, actions = columns.from_data(track.states), columns.from_data(track.actions)
    sinks = [s for s in robot.sinks if s.kind in READABLE and set(s.names) <= set(columns.columns)]
    mark = Mark(f"{episode}", SOURCE, track.instructions[0], times[0])
    writer.text(f"/{MARKS_TOPIC}", times[0], mark.dump())
    writer.text("/instruction", times[0], mark.instruction)
    frames = range(len(times))
    pictures = data.reader.pictures(episode, frames, track.times)
    for row, time, views in zip(frames, times, pictures, strict=True):
        writer.joints(f"/{JOINTS}", time, columns.state_columns, states[row] / scales)
        for sink in sinks:
            values = actions[row][[columns.columns.index(name) for name in sink.names]]
            _command(writer, sink, time, values)
        for slot, picture in views.items():
            writer.jpeg(f"/camera/{slot}/compressed", time, _encode(picture))
    ended = replace(mark, end=times[-1], outcome="")
    writer.text(f"/{MARKS_TOPIC}", times[-1], ended.dump())


def _command(writer: MessageWriter, sink: Sink, time: float, values: np.ndarray) -> None:
    if sink.kind is SinkKind.FORWARD_POSITION:
        writer.positions(f"/{sink.topic}", time, values)
    else:
        writer.trajectory(f"/{sink.topic}", time, sink.names, values)


def _find_begin(data: _Dataset, episode: int) -> float:
    """When it was recorded, s since 1970."""
    facts = data.about.get("episodes", ())
    return facts[episode]["begin"] if episode < len(facts) else _LONG_AGO


def _encode(picture: np.ndarray) -> np.ndarray:
    quality = (cv2.IMWRITE_JPEG_QUALITY, _QUALITY)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), quality)
    return data.reshape(-1)


def _describe(folder: Path, episode: int, data: _Dataset) -> dict[str, str]:
    """For the bag's metadata."""
    return {
        "dm0_ros.version": find_version(),
        "dm0_ros.commit": find_commit(),
        "dm0_ros.robot": data.robot.name,
        "dm0_ros.dataset": str(folder),
        "dm0_ros.dataset_episode": str(episode),
    }
