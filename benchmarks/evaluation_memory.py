# SPDX-License-Identifier: Apache-2.0
"""Memory of an evaluation over a bag much larger than memory, as a worker of `dm0 eval bags`.

The bag has raw pictures of three cameras at 30 Hz, one in each chunk of its file, as rosbag2
leaves them, beside joint states and commands at 100 Hz. All pictures are black, and black is a
hole in the file: 100 GB of bag take 1 GB of disk, but are read like any others.
"""

import io
import itertools
import multiprocessing
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from mcap.writer import CompressionType, Writer
from replay_memory import memory
from rosbags.typesys.store import Typestore
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
_PAGE = 4096  # bytes


def main() -> None:
    """Run it."""
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=100.0, help="of the bag")
    parser.add_argument("--chunk", type=int, default=768 * 1024, help="bytes before it is closed")
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
            chunks = other.submit(write_bag, bag, options.robot, size, options.chunk).result()
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


class Sparse(io.RawIOBase):
    """A file that has no pages for zeros."""

    def __init__(self, path: Path) -> None:
        self._file, self._place = path.open("wb"), 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def write(self, data) -> int:
        data = memoryview(data)
        for begin in range(0, len(data), _PAGE):
            page = data[begin : begin + _PAGE]
            if page != _ZEROS[: len(page)]:
                self._file.seek(self._place + begin)
                self._file.write(page)
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        self._file.truncate(self._place)
        self._file.close()
        super().close()


_ZEROS = memoryview(bytes(_PAGE))


def write_bag(path: Path, robot: str, size: float, chunk: int) -> int:
    """A bag of so many bytes; returns of how many chunks."""
    with Sparse(path) as file:
        writer = Writer(file, chunk, CompressionType.NONE, enable_crcs=False)
        writer.start("ros2")
        messages = make_messages(load_robot(robot), Channels(writer))
        for tick in itertools.count():
            if file.tell() >= size:
                break
            for channel, data in messages(tick):
                moment = _BEGIN + tick * _TICK
                writer.add_message(channel, moment, data, moment)
        writer.finish()
        return len(writer._Writer__chunk_indices)  # it tells nobody


class Channels:
    """Topics, as they are first written to."""

    def __init__(self, writer: Writer) -> None:
        self._writer, self._types = writer, make_typestore()
        self._known: dict[str, int] = {}

    @property
    def types(self) -> Typestore:
        """For messages."""
        return self._types

    def find(self, topic: str, kind: str) -> int:
        """The number of a topic."""
        if topic not in self._known:
            text, _ = self._types.generate_msgdef(kind, ros_version=2)
            schema = self._writer.register_schema(kind, "ros2msg", text.encode())
            self._known[topic] = self._writer.register_channel(topic, "cdr", schema)
        return self._known[topic]


def make_messages(robot: RobotSpec, channels: Channels):
    """A function from a tick to what is written at it: channel and CDR."""
    types, kinds = channels.types.types, channels.types
    black = np.zeros(_SIZE[0] * _SIZE[1] * 3, np.uint8)
    home = [robot.home[name] for name in robot.column_names]

    def header(tick: int):
        seconds, rest = divmod(_BEGIN + tick * _TICK, 10**9)
        stamp = types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=rest)
        return types["std_msgs/msg/Header"](stamp=stamp, frame_id="")

    def give(topic: str, kind: str, **fields):
        message = types[kind](**fields)
        return channels.find(topic, kind), bytes(kinds.serialize_cdr(message, kind))

    def picture(slot: str, tick: int):
        height, width = _SIZE
        fields = {"height": height, "width": width, "encoding": "rgb8", "is_bigendian": 0}
        fields |= {"step": 3 * width, "data": black, "header": header(tick)}
        return give(f"/camera/{slot}/image_raw", "sensor_msgs/msg/Image", **fields)

    def state(tick: int):
        gaps = {g.name: 1 / g.opening_per_joint for g in robot.grippers}
        names = list(robot.column_names)
        position = np.array([h * gaps.get(n, 1.0) for n, h in zip(names, home, strict=True)])
        fields = {"name": names, "velocity": np.empty(0), "effort": np.empty(0)}
        fields |= {"header": header(tick), "position": position}
        return give("/joint_states", "sensor_msgs/msg/JointState", **fields)

    def command(sink):
        values = np.array([robot.home[name] for name in sink.names])
        layout = types["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
        kind = "std_msgs/msg/Float64MultiArray"
        return give(f"/{sink.topic}", kind, layout=layout, data=values)

    def messages(tick: int):
        yield state(tick)
        yield from map(command, robot.sinks)
        if tick % _PICTURES < 1:
            yield from (picture(slot, tick) for slot in robot.camera_slots)

    return messages


if __name__ == "__main__":
    main()
