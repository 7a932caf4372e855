# SPDX-License-Identifier: Apache-2.0
"""Makes bags of known content for tests, without ROS."""

from pathlib import Path

import numpy as np

from dm0_ros.replay.bag import BagWriter
from dm0_ros.replay.definitions import make_typestore
from dm0_ros.replay.episodes import Episode
from dm0_ros.robots.spec import RobotSpec

BEGIN = 1_700_000_000.0  # s since 1970
TYPES = make_typestore()


def make(type_name: str, **fields):
    """A message of rosbags' type."""
    return TYPES.types[type_name](**fields)


def make_header(seconds: float, frame: str = ""):
    """A std_msgs/Header."""
    nanoseconds = round(seconds * 1e9)
    stamp = make(
        "builtin_interfaces/msg/Time",
        sec=nanoseconds // 10**9,
        nanosec=nanoseconds % 10**9,
    )
    return make("std_msgs/msg/Header", stamp=stamp, frame_id=frame)


def write(writer: BagWriter, topic: str, seconds: float, message) -> None:
    """Write one message; the topic is declared at its first."""
    type_name = message.__msgtype__
    if topic not in writer.topics:
        writer.add_topic(topic, type_name)
    data = bytes(TYPES.serialize_cdr(message, type_name))
    writer.write(topic, round(seconds * 1e9), data)


def make_chunk(seconds: float, latency: tuple[float, ...], instruction: str = "touch it"):
    """An ActionChunk of two rows."""
    header = make_header(seconds, "base")
    return make(
        "dm0_ros/msg/ActionChunk",
        header=header,
        start=header.stamp,
        step=make("builtin_interfaces/msg/Duration", sec=0, nanosec=100_000_000),
        sequence=1,
        epoch=0,
        space=0,
        names=["a"],
        rows=2,
        values=np.zeros(2),
        progress=0.5,
        instruction=instruction,
        policy="none",
        latency_ms=np.array(latency, np.float32),
    )


def make_positions(values):
    """A Float64MultiArray."""
    layout = make("std_msgs/msg/MultiArrayLayout", dim=[], data_offset=0)
    return make("std_msgs/msg/Float64MultiArray", layout=layout, data=np.array(values, float))


def make_joint_state(seconds: float, names, positions):
    """A JointState."""
    empty = np.empty(0)
    return make(
        "sensor_msgs/msg/JointState",
        header=make_header(seconds),
        name=list(names),
        position=np.array(positions, float),
        velocity=empty,
        effort=empty,
    )


def make_image(seconds: float, picture: np.ndarray, encoding: str = "rgb8", padding: int = 0):
    """An Image; ``padding`` bytes follow every row."""
    height, width = picture.shape[:2]
    rows = picture.reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)))
    return make(
        "sensor_msgs/msg/Image",
        header=make_header(seconds),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=rows.shape[1],
        data=rows.ravel(),
    )


def make_episode(start: float, named: str, touched: str | None, seconds: float = 2.0) -> Episode:
    """An episode that began ``start`` s after BEGIN."""
    return Episode(
        instruction=f"tap the {named} one",
        object=named,
        outcome="touched" if touched == named else "wrong_object" if touched else "time_limit",
        first_touched=touched,
        seconds=seconds,
        plans=3,
        started=BEGIN + start,
        ended=BEGIN + start + seconds,
        touched=BEGIN + start + seconds if touched else None,
        message="",
    )


def write_demo_bag(path: Path, spec: RobotSpec, episodes, error: float = 0.01) -> None:
    """A bag as a demo leaves it: each joint is ``error`` behind a command at 100 Hz."""
    writer = BagWriter(path)
    colour = {"red": (250, 5, 5), "blue": (5, 5, 250)}
    for episode in episodes:
        picture = np.full((48, 64, 3), colour.get(episode.object, (128, 128, 128)), np.uint8)
        times = np.arange(episode.started, episode.ended, 0.01)
        for number, seconds in enumerate(times):
            value = float(np.sin(seconds - BEGIN))
            for sink in spec.sinks:
                write(writer, f"/{sink.topic}", seconds, make_positions([value] * len(sink.names)))
            gaps = {g.name: 1 / g.opening_per_joint for g in spec.grippers}
            names = spec.column_names[::-1]
            measured = [(value + error) * gaps.get(name, 1.0) for name in names]
            state = make_joint_state(seconds + 0.001, names, measured)
            write(writer, "/joint_states", seconds + 0.002, state)
            if number % 10 == 0:
                image = make_image(seconds, picture)
                write(writer, f"/overlay/{spec.camera_slots[0]}/image", seconds, image)
            if number % 50 == 0:
                chunk = make_chunk(seconds, (1, 2, 3, 4 + number))
                write(writer, "/action_chunk", seconds, chunk)
    writer.close()
