# SPDX-License-Identifier: Apache-2.0
"""Bags that are broken, empty, too new or not ours: each is refused, by name, with a remedy."""

import time

import numpy as np
import pytest
from replay_bags import BEGIN, make, make_chunk, make_image, make_positions, write
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2 import StoragePlugin, Writer

from dm0_ros.errors import Dm0Error
from dm0_ros.replay.bag import BagWriter, list_topics, look_into, read_messages, read_raw
from dm0_ros.replay.layout import find_layout
from dm0_ros.replay.plans import pair_traces


@pytest.fixture
def bag(tmp_path):
    """Of many chunks."""
    writer = BagWriter(tmp_path / "bag")
    random = np.random.default_rng(0)
    for k in range(12):
        picture = random.integers(0, 255, (300, 400, 3), np.uint8)
        write(writer, "/camera/high/image_raw", BEGIN + k, make_image(BEGIN + k, picture))
        write(writer, "/commands", BEGIN + k, make_positions([0.1]))
    writer.close()
    return tmp_path / "bag"


def read_all(path):
    return [message.read() for message in read_raw(path)]


@pytest.mark.parametrize("left", [0.0, 0.001])
def test_truncated_before_its_first_message(bag, left):
    file = bag / "bag.mcap"
    data = file.read_bytes()
    file.write_bytes(data[: int(left * len(data))])
    with pytest.raises(Dm0Error, match="not a complete bag") as caught:
        read_all(bag)
    assert ("bag.mcap is empty" if left == 0 else "truncated") in str(caught.value)


@pytest.mark.parametrize("left", [0.3, 0.9, 0.99999])
def test_truncated_is_read_as_far_as_it_goes_and_says_so(bag, left):
    file = bag / "bag.mcap"
    whole, data = [message.time for message in read_raw(bag)], file.read_bytes()
    file.write_bytes(data[: int(left * len(data))])
    found = [message.time for message in read_raw(bag)]
    assert found == whole[: len(found)]
    assert (left - 0.2) * len(whole) < len(found) <= len(whole)
    (sentence,) = look_into(bag).missing
    assert "bag.mcap was not closed" in sentence
    assert f"{time.gmtime(found[-1]).tm_sec:02d}.000 UTC are there" in sentence


def test_damaged_in_the_middle_says_where(bag):
    file = bag / "bag.mcap"
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 300_000] = bytes(300_000)
    file.write_bytes(data)
    found = []
    with pytest.raises(Dm0Error, match=r"broken \d+\.\d+ s after its beginning: .*copy the bag"):
        found.extend(message.topic for message in read_raw(bag))
    assert len(found) > 4, "what is before the damage is read"


def test_every_byte_of_the_index_may_be_wrong(bag):
    """Whatever a reader makes of it, it is not a traceback."""
    file = bag / "bag.mcap"
    data = file.read_bytes()
    for place in range(len(data) - 1500, len(data), 7):
        broken = bytearray(data)
        broken[place] ^= 0xFF
        file.write_bytes(broken)
        try:
            read_all(bag)
            look_into(bag)
        except Dm0Error:
            pass


def test_no_bag_at_all(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.mcap").write_text("hello")
    (tmp_path / "empty.mcap").touch()
    (tmp_path / "one.bag").write_bytes(b"#ROSBAG V2.0\n")
    (tmp_path / "film.mp4").write_bytes(b"\0" * 100)
    for name, words in (
        ("absent", "there is no such file or folder"),
        ("folder", "a folder without metadata.yaml and recordings"),
        ("text.mcap", "truncated, of another version or another format"),
        ("empty.mcap", "empty.mcap is empty; nothing was recorded"),
        ("one.bag", "a bag of ROS 1; convert it with 'rosbags-convert' first"),
        ("film.mp4", "not a complete bag"),
    ):
        with pytest.raises(Dm0Error, match=words):
            list_topics(tmp_path / name)


def test_without_metadata_it_is_made_from_the_recording(bag):
    whole = look_into(bag)
    (bag / "metadata.yaml").unlink()
    found = look_into(bag)
    assert (found.topics, found.counts, found.end) == (whole.topics, whole.counts, whole.end)
    assert found.missing == ("bag has no metadata.yaml; one was made from the recordings",)


@pytest.mark.parametrize(
    ("old", "new"),
    [("version: 9", "version: 99"), ("version: 9", "versio: 9"), ("mcap", "tape")],
)
def test_of_another_version(bag, old, new):
    file = bag / "metadata.yaml"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(Dm0Error, match="of another version"):
        list_topics(bag)


def test_metadata_that_is_no_yaml(bag):
    (bag / "metadata.yaml").write_text("{")
    with pytest.raises(Dm0Error, match="not a complete bag"):
        list_topics(bag)


def test_without_messages(tmp_path):
    BagWriter(tmp_path / "bag").close()
    with pytest.raises(Dm0Error, match="the bag has no messages"):
        find_layout(tmp_path / "bag")


def test_foreign_types_are_read_as_the_bag_defines_them(tmp_path):
    """Also in SQLite, and where no package on this machine knows the type."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg("float64 mass", "arm_msgs/msg/Load"))
    for plugin in (StoragePlugin.MCAP, StoragePlugin.SQLITE3):
        path = tmp_path / plugin.name
        with Writer(path, version=9, storage_plugin=plugin) as writer:
            kind = store.types["arm_msgs/msg/Load"]
            connection = writer.add_connection("/load", "arm_msgs/msg/Load", typestore=store)
            data = store.serialize_cdr(kind(mass=2.5), "arm_msgs/msg/Load")
            writer.write(connection, round(BEGIN * 1e9), data)
        (message,) = read_messages(path)
        assert message.content.mass == 2.5


def test_unknown_types_are_named(tmp_path):
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        nothing = MessageDefinition(MessageDefinitionFormat.MSG, "")
        connection = writer.add_connection(
            "/load", "arm_msgs/msg/Load", msgdef=nothing.data, rihs01="RIHS01_x"
        )
        writer.write(connection, round(BEGIN * 1e9), b"\0\1\0\0" + bytes(8))
    with pytest.raises(Dm0Error, match=r"arm_msgs/msg/Load|not a complete bag"):
        read_all(tmp_path / "bag")


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "not what the policy node writes"), ("{}", "lacks digest, index"), ("[]", "lacks")],
)
def test_traces_of_nobody_are_refused(tmp_path, text, words):
    writer = BagWriter(tmp_path / "bag")
    write(writer, "/action_chunk", BEGIN, make_chunk(BEGIN, (1, 2, 3, 4)))
    write(writer, "/policy_trace", BEGIN, make("std_msgs/msg/String", data=text))
    writer.close()
    with pytest.raises(Dm0Error, match=f"policy_trace: {words}"):
        list(pair_traces(read_raw(tmp_path / "bag"), True))
