# SPDX-License-Identifier: Apache-2.0
"""Memory of an evaluation over a bag much larger than memory, as a worker of `dm0 eval bags`.

The bag has raw pictures of three cameras at 30 Hz, one in each chunk of its file, as rosbag2
leaves them, beside joint states and commands at 100 Hz. All pictures are black, and black is a
hole in the file: 100 GB of bag take half a GB of disk, but are read like any others.
"""

import itertools
import multiprocessing
import os
import resource
import struct
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    ChunkIndex,
    DataEnd,
    Footer,
    Header,
    Message,
    MessageIndex,
    Schema,
    Statistics,
)
from replay_memory import memory
from support.record import make_parser, report

from dm0_ros.evaluation.evaluate import CHECKPOINT, Setting
from dm0_ros.evaluation.keeping import evaluate_next
from dm0_ros.replay.definitions import make_typestore
from dm0_ros.replay.run import Wishes
from dm0_ros.robots.loading import load_robot
from dm0_ros.robots.spec import RobotSpec

_BEGIN = 1_700_000_000 * 10**9  # ns since 1970
_TICK = 10_000_000  # ns between joint states
_PICTURES = 10 / 3  # ticks between pictures of a camera
_SIZE = 480, 640
_PIXELS = _SIZE[0] * _SIZE[1] * 3  # bytes
_MAGIC = b"\x89MCAP0\r\n"
_TYPES = make_typestore()


def main() -> None:
    """Run it."""
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=100.0, help="of the bag")
    parser.add_argument("--every", type=float, default=1.0, help="s between plans")
    parser.add_argument("--robot", default="franka")
    parser.add_argument("--checkpoint", default="dm0-nano")
    parser.add_argument("--folder", type=Path, help="for the bag [a temporary one]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dm0_evaluation_", dir=options.folder) as folder:
        bag = Path(folder) / "bag.mcap"
        # elsewhere, for what it needs is not what is measured
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:
            size = options.gigabytes * 1e9
            chunks = other.submit(write_bag, bag, options.robot, size).result()
        wishes = Wishes(
            options.robot,
            options.checkpoint,
            period=options.every,
            instruction="touch the red block",
        )
        figures = measure(bag, Setting(CHECKPOINT, wishes), Path(folder) / "result")
        report("evaluation_memory", {"chunks": chunks, **figures}, options.write)


def measure(bag: Path, setting: Setting, folder: Path) -> dict:
    """Evaluate a bag; the memory meanwhile, every twentieth of the bag."""
    trail, shares = [], itertools.count()

    def tell(share: float) -> None:
        if share >= len(trail) / 20:
            trail.append({"share": round(share, 3), "mb": round(memory())})
        next(shares)

    began, begun = time.perf_counter(), time.process_time()
    folder.mkdir()
    evaluate_next(bag, setting, folder, tell)
    return {
        "bag_mb": round(bag.stat().st_size / 1e6),
        "on_disk_mb": round(bag.stat().st_blocks * 512 / 1e6),
        "plans": next(shares) - 1,
        "seconds": round(time.perf_counter() - began),
        "processor_seconds": round(time.process_time() - begun),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6),
        "memory": trail,
    }


def write_bag(path: Path, robot: str, size: float) -> int:
    """A bag of so many bytes; returns of how many chunks."""
    bag, spec = SparseBag(path), load_robot(robot)
    for tick in itertools.count():
        if bag.size >= size:
            break
        moment = _BEGIN + tick * _TICK
        bag.add("/joint_states", make_state(spec, moment), moment)
        for sink in spec.sinks:
            bag.add(f"/{sink.topic}", make_command(spec, sink), moment)
        if tick % _PICTURES < 1:
            for slot in spec.camera_slots:
                bag.add_picture(f"/camera/{slot}/image_raw", make_picture(moment), moment)
    return bag.close()


class SparseBag:
    """An MCAP file whose chunks end with a black picture, which is a hole."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._schemas: dict[str, Schema] = {}
        self._channels: dict[str, Channel] = {}
        self._counts: dict[int, int] = {}
        self._chunk, self._index = RecordBuilder(), {}
        self._chunks: list[ChunkIndex] = []
        builder = RecordBuilder()
        Header("ros2", "dm0_ros").write(builder)
        self._file.write(_MAGIC + builder.end())

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._file.tell()

    def add(self, topic: str, message, moment: int) -> None:
        """A message, received ``moment`` ns after 1970."""
        self._note(topic, message.__msgtype__, moment)
        data = bytes(_TYPES.serialize_cdr(message, message.__msgtype__))
        channel = self._channels[topic].id
        Message(channel, moment, data, moment, self._counts[channel]).write(self._chunk)

    def add_picture(self, topic: str, message, moment: int) -> None:
        """A picture without its pixels, which are a hole; the chunk ends with it."""
        self._note(topic, message.__msgtype__, moment)
        data = bytearray(_TYPES.serialize_cdr(message, message.__msgtype__))
        channel, count = self._channels[topic].id, self._counts[self._channels[topic].id]
        data[-4:] = struct.pack("<I", _PIXELS)
        length = 22 + len(data) + _PIXELS
        head = struct.pack("<BQHIQQ", Opcode.MESSAGE, length, channel, count, moment, moment)
        self._end_chunk(self._chunk.end() + head + bytes(data), moment)

    def _note(self, topic: str, kind: str, moment: int) -> None:
        if kind not in self._schemas:
            text, _ = _TYPES.generate_msgdef(kind, ros_version=2)
            number = len(self._schemas) + 1
            self._schemas[kind] = Schema(number, text.encode(), "ros2msg", kind)
        if topic not in self._channels:
            number = len(self._channels) + 1
            self._channels[topic] = Channel(number, topic, "cdr", {}, self._schemas[kind].id)
        channel = self._channels[topic].id
        self._counts[channel] = self._counts.get(channel, 0) + 1
        self._index.setdefault(channel, []).append((moment, self._chunk.count))

    def _end_chunk(self, data: bytes, moment: int) -> None:
        first, begin = min(index[0][0] for index in self._index.values()), self._file.tell()
        size = len(data) + _PIXELS
        head = struct.pack("<BQQQQIIQ", Opcode.CHUNK, 40 + size, first, moment, size, 0, 0, size)
        self._file.write(head + data)
        self._file.seek(_PIXELS, os.SEEK_CUR)
        builder, offsets, end = RecordBuilder(), {}, self._file.tell()
        for channel, records in self._index.items():
            offsets[channel] = end + builder.count
            MessageIndex(channel, records).write(builder)
        index = builder.end()
        self._file.write(index)
        length = len(head) + size
        self._chunks.append(
            ChunkIndex(length, begin, "", size, moment, len(index), offsets, first, size)
        )
        self._index = {}

    def close(self) -> int:
        """Write the index; returns of how many chunks."""
        builder, counts = RecordBuilder(), self._counts
        DataEnd(0).write(builder)
        data = builder.end()
        begin = self._file.tell() + len(data)
        for record in (*self._schemas.values(), *self._channels.values(), *self._chunks):
            record.write(builder)
        times = [chunk.message_start_time for chunk in self._chunks]
        Statistics(
            attachment_count=0,
            channel_count=len(self._channels),
            channel_message_counts=counts,
            chunk_count=len(self._chunks),
            message_count=sum(counts.values()),
            message_end_time=self._chunks[-1].message_end_time,
            message_start_time=min(times),
            metadata_count=0,
            schema_count=len(self._schemas),
        ).write(builder)
        Footer(begin, 0, 0).write(builder)
        self._file.write(data + builder.end() + _MAGIC)
        self._file.close()
        return len(self._chunks)


def make(kind: str, **fields):
    """A message."""
    return _TYPES.types[kind](**fields)


def make_header(moment: int):
    """A std_msgs/Header."""
    seconds, rest = divmod(moment, 10**9)
    stamp = make("builtin_interfaces/msg/Time", sec=seconds, nanosec=rest)
    return make("std_msgs/msg/Header", stamp=stamp, frame_id="")


def make_picture(moment: int):
    """An Image of no pixels."""
    (height, width), header = _SIZE, make_header(moment)
    sizes = {"height": height, "width": width, "step": 3 * width}
    fields = {**sizes, "encoding": "rgb8", "is_bigendian": 0, "header": header}
    return make("sensor_msgs/msg/Image", data=np.empty(0, np.uint8), **fields)


def make_state(robot: RobotSpec, moment: int):
    """A JointState at home."""
    gaps = {gripper.name: 1 / gripper.opening_per_joint for gripper in robot.grippers}
    names, none = list(robot.column_names), np.empty(0)
    position = np.array([robot.home[name] * gaps.get(name, 1.0) for name in names])
    fields = {"name": names, "position": position, "velocity": none, "effort": none}
    return make("sensor_msgs/msg/JointState", header=make_header(moment), **fields)


def make_command(robot: RobotSpec, sink):
    """A Float64MultiArray that stays at home."""
    layout = make("std_msgs/msg/MultiArrayLayout", dim=[], data_offset=0)
    values = np.array([robot.home[name] for name in sink.names])
    return make("std_msgs/msg/Float64MultiArray", layout=layout, data=values)


if __name__ == "__main__":
    main()
