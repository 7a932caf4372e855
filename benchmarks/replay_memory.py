# SPDX-License-Identifier: Apache-2.0
"""Pace and memory of `dm0 replay` over a long bag, which is made of copies of a short one.

Every copy comes later, with its stamps: pictures, joint states, plans and traces. The executor is
left out, because the epochs of a copy begin anew.
"""

import itertools
import json
import math
import os
import struct
import tempfile
import time
from pathlib import Path

from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from support.record import make_parser, report

from dm0_ros.policy.trace import TRACE_TOPIC
from dm0_ros.replay.run import Wishes, prepare, replay

_SECOND = 1_000_000_000  # ns
_PAUSE = 10  # s between copies
_TYPES = {"sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/JointState"}
_PLAN = "dm0_ros/msg/ActionChunk"


def main() -> None:
    """Run it."""
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("bag", type=Path, help="of a demo")
    parser.add_argument("--copies", type=int, default=7, help="that the long bag is made of")
    parser.add_argument("--every", type=int, default=200, help="plans between looks at the memory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dm0_replay_") as folder:
        long = Path(folder) / "bag"
        lengthen(options.bag, long, options.copies)
        figures = measure(long, options.every)
    report("replay_memory", figures, options.write)


def measure(bag: Path, every: int) -> dict:
    """Replay a bag; the figures of that, and the memory meanwhile."""
    wishes, trail = Wishes(), []
    subject = prepare(bag, wishes)
    size = sum(path.stat().st_size for path in bag.iterdir()) / 1e6
    loaded, begun, plans = memory(), time.process_time(), itertools.count(1)

    def watch(_step, watchman) -> None:
        if (made := next(plans)) % every == 0:
            seconds = watchman.end - watchman.begin
            trail.append({"seconds": round(seconds), "plans": made, "mb": round(memory())})

    figures = replay(subject, wishes, watch)
    figures["real_time_factor_of_processor_time"] = figures["seconds"] / (
        time.process_time() - begun
    )
    del figures["oddities"]  # the pauses between the copies
    return {"bag_mb": round(size), "loaded_mb": round(loaded), "memory": trail, **figures}


def memory() -> float:
    """Resident memory of this process, MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def lengthen(source: Path, target: Path, copies: int) -> None:
    """Write a bag of so many copies of another one, one after another."""
    with AnyReader([source]) as reader:
        writer = Writer(target, version=9, storage_plugin=StoragePlugin.MCAP)
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        with writer:
            topics = {
                c.id: writer.add_connection(c.topic, c.msgtype, typestore=reader.typestore)
                for c in reader.connections
                if not c.topic.startswith("/overlay") and c.msgcount
            }
            chosen = [c for c in reader.connections if c.id in topics]
            length = math.ceil((reader.end_time - reader.start_time) / _SECOND) + _PAUSE
            for copy in range(copies):
                stamps: dict[float, tuple[int, int]] = {}
                for connection, received, data in reader.messages(chosen):
                    later = copy * length
                    changed = shift(connection.topic, connection.msgtype, data, later, stamps)
                    writer.write(topics[connection.id], received + later * _SECOND, changed)


def shift(topic: str, kind: str, data: bytes, later: int, stamps: dict) -> bytes:
    """A message ``later`` s after it was; ``stamps`` are those that were seen so far."""
    if topic.endswith(TRACE_TOPIC):
        return shift_trace(data, later, stamps)
    if kind not in _TYPES and kind != _PLAN:
        return data
    changed = bytearray(data)
    places = [4]
    if kind == _PLAN:  # its start follows the header's text, on a multiple of 4
        (text,) = struct.unpack_from("<I", data, 12)
        places.append(16 + (text + 3) // 4 * 4)
    for place in places:
        sec, nanosec = struct.unpack_from("<iI", data, place)
        struct.pack_into("<i", changed, place, sec + later)
        stamps[sec + nanosec / 1e9] = sec, nanosec
    return bytes(changed)


def shift_trace(data: bytes, later: int, stamps: dict) -> bytes:
    """A trace whose stamps are those of the shifted messages, by the bit."""
    (size,) = struct.unpack_from("<I", data, 4)
    trace = json.loads(data[8 : 8 + size - 1])
    for name in ("stamps", "joint_stamps"):
        for key, stamp in trace[name].items():
            sec, nanosec = stamps.get(stamp, (stamp, 0))
            trace[name][key] = sec + later + nanosec / 1e9
    text = json.dumps(trace).encode() + b"\0"
    return data[:4] + struct.pack("<I", len(text)) + text


if __name__ == "__main__":
    main()
