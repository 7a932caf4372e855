# SPDX-License-Identifier: Apache-2.0
"""Bags: what goes in comes out, for every reader, and faults are named."""

from io import BytesIO

import numpy as np
import pytest
from replay_bags import BEGIN, make_chunk, make_image, make_positions, write

from dm0_ros.errors import Dm0Error
from dm0_ros.replay.bag import BagWriter, list_topics, read_messages
from dm0_ros.replay.definitions import add_type, make_typestore


def test_own_messages_come_back_with_stamps_and_reception(tmp_path):
    writer = BagWriter(tmp_path / "bag")
    for k in range(3):
        write(writer, "/action_chunk", BEGIN + k, make_chunk(BEGIN + k - 0.25, (k, 2, 3, 4)))
    write(writer, "/commands", BEGIN + 0.5, make_positions([0.1, 0.2]))
    assert writer.count() == {"/action_chunk": 3, "/commands": 1}
    writer.close()

    messages = list(read_messages(tmp_path / "bag"))
    assert [m.topic for m in messages] == ["/action_chunk", "/commands"] + ["/action_chunk"] * 2
    assert messages[2].time == BEGIN + 1
    assert messages[2].content.header.stamp.nanosec == pytest.approx(750_000_000, abs=1000)
    assert messages[2].content.latency_ms.tolist() == [1, 2, 3, 4]
    chosen = [m.topic for m in read_messages(tmp_path / "bag", ["/commands"])]
    assert chosen == ["/commands"]
    assert list(read_messages(tmp_path / "bag", ["/nothing"])) == []
    assert list_topics(tmp_path / "bag")["/action_chunk"] == "dm0_ros/msg/ActionChunk"


def test_foreign_reader_finds_the_definitions_in_the_file(tmp_path):
    from mcap.reader import make_reader
    from mcap_ros2.decoder import DecoderFactory

    writer = BagWriter(tmp_path / "bag")
    write(writer, "/action_chunk", BEGIN, make_chunk(BEGIN, (1, 2, 3, 4), "touch the red one"))
    writer.close()
    data = (tmp_path / "bag" / "bag.mcap").read_bytes()
    reader = make_reader(BytesIO(data), decoder_factories=[DecoderFactory()])
    ((_, _, _, message),) = reader.iter_decoded_messages()
    assert message.instruction == "touch the red one"
    assert (tmp_path / "bag" / "metadata.yaml").exists()


def test_pictures_are_compressed(tmp_path):
    writer = BagWriter(tmp_path / "bag")
    picture = np.full((448, 448, 3), 90, np.uint8)
    for k in range(20):
        write(writer, "/camera/high/image_raw", BEGIN + k, make_image(BEGIN + k, picture))
    writer.close()
    size = (tmp_path / "bag" / "bag.mcap").stat().st_size
    assert size < 20 * picture.nbytes / 10


def test_faults_are_named(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(Dm0Error, match="taken"):
        BagWriter(tmp_path / "taken")
    with pytest.raises(Dm0Error, match=r"absent: not a complete bag"):
        list_topics(tmp_path / "absent")
    with pytest.raises(Dm0Error, match=r"no definition .* nowhere_msgs/msg/Thing"):
        add_type(make_typestore(), "nowhere_msgs/msg/Thing")


def test_bag_that_was_not_closed_is_refused(tmp_path):
    writer = BagWriter(tmp_path / "bag")
    write(writer, "/commands", BEGIN, make_positions([0.1]))
    with pytest.raises(Dm0Error, match="not a complete bag"):
        list_topics(tmp_path / "bag")
    writer.close()


def test_message_that_is_not_what_the_bag_says_names_its_topic(tmp_path):
    writer = BagWriter(tmp_path / "bag")
    write(writer, "/commands", BEGIN, make_positions([0.1]))
    writer.write("/commands", round((BEGIN + 1) * 1e9), b"\x00\x01\x00\x00" + b"\xff" * 16)
    writer.close()
    with pytest.raises(Dm0Error, match="a message of /commands is not what the bag says"):
        list(read_messages(tmp_path / "bag"))


def test_types_of_other_packages_come_from_their_share_folder(tmp_path, monkeypatch):
    folder = tmp_path / "share" / "arm_msgs" / "msg"
    folder.mkdir(parents=True)
    (folder / "Load.msg").write_text("Part[] parts\nstd_msgs/Header header\n")
    (folder / "Part.msg").write_text("float64 mass\n")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    types = make_typestore()
    add_type(types, "arm_msgs/msg/Load")
    assert "float64 mass" in types.generate_msgdef("arm_msgs/msg/Load", ros_version=2)[0]
