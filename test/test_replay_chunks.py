# SPDX-License-Identifier: Apache-2.0
"""The small index gives what rosbags' own gives, and is small."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.writer import CompressionType, IndexType, Writer
from rosbags.rosbag2.storage_mcap import ChunkInfo, McapReader

from dm0_ros.replay.chunks import ChunkTable, SmallReader


def write(path, messages, **options):
    """A file whose chunks are cut where the channel is None; (channel, ns)."""
    with path.open("wb") as file:
        writer = Writer(file, 1 << 20, CompressionType.NONE, **options)
        writer.start("ros2")
        schema = writer.register_schema("std_msgs/msg/Empty", "ros2msg", b"")
        channels = [writer.register_channel(f"/{name}", "cdr", schema) for name in "abc"]
        for number, (channel, moment) in enumerate(messages):
            if channel is None:
                writer.flush()
            else:
                data = number.to_bytes(4, "little")
                writer.add_message(channels[channel], moment, data, moment)
        writer.finish()


def read(kind, path, topics, start, stop):
    reader = kind(path)
    reader.open()
    try:
        chosen = [one for one in reader.connections if one.topic in topics]
        found = [(c.topic, t, bytes(data)) for c, t, data in reader.messages(chosen, start, stop)]
        counts = {one.topic: one.msgcount for one in reader.connections}
        return found, counts, reader.metadata
    finally:
        reader.close()


moments = st.integers(1, 40)
limits = st.none() | st.integers(0, 45)


@settings(max_examples=60, deadline=None)
@given(
    messages=st.lists(st.tuples(st.none() | st.integers(0, 2), moments), max_size=40),
    topics=st.sets(st.sampled_from(["/a", "/b", "/c"]), min_size=1),
    start=limits,
    stop=limits,
    counted=st.booleans(),
)
def test_messages_come_as_rosbags_gives_them(
    tmp_path_factory, messages, topics, start, stop, counted
):
    path = tmp_path_factory.mktemp("bag") / "bag.mcap"
    # chunks that overlap, begin at once, lack channels, or are of one message
    write(path, [(0, 20), *messages], use_statistics=counted)
    expected = read(McapReader, path, topics, start, stop)
    assert read(SmallReader, path, topics, start, stop) == expected


def test_a_file_without_an_index_is_read_too(tmp_path):
    path = tmp_path / "bag.mcap"
    write(path, [(0, 1), (1, 2), (None, 0), (0, 3)], index_types=IndexType.NONE)
    expected = read(McapReader, path, {"/a", "/b"}, None, None)
    assert len(expected[0]) == 3
    assert read(SmallReader, path, {"/a", "/b"}, None, None) == expected


def test_ten_thousand_chunks_take_less_than_a_megabyte():
    rows = np.random.default_rng(0).integers(1, 1 << 40, (10_000, 5)).tolist()
    table = ChunkTable()
    tracemalloc.start()
    for first, last, offset, packed, size in rows:
        counts = dict.fromkeys(range(10), 7)
        offsets = {channel: offset + channel for channel in counts}
        table.append(ChunkInfo(first, last, offset, 9, offsets, 9, "zstd", packed, size, counts))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # 56 + 10 counts, and arrays grow ahead of what is in them
    assert used / len(rows) < 170
    expected = ChunkInfo(*rows[7][:3], 0, {}, 0, "zstd", *rows[7][3:], counts)
    assert len(table) == 10_000 and table[7] == expected
    with pytest.raises(IndexError):
        table[10_000]


def test_it_is_what_bags_are_read_with(tmp_path):
    from replay_bags import BEGIN, make_positions
    from replay_bags import write as write_message
    from rosbags.highlevel import AnyReader

    from dm0_ros.replay.bag import BagWriter

    writer = BagWriter(tmp_path / "bag")
    write_message(writer, "/a", BEGIN, make_positions([1.0]))
    writer.close()
    for place in (tmp_path / "bag", next(Path(tmp_path / "bag").glob("*.mcap"))):
        with AnyReader([place]) as reader:
            storages = getattr(reader.readers[0].storage, "storages", [reader.readers[0].storage])
            assert all(isinstance(storage, SmallReader) for storage in storages)
