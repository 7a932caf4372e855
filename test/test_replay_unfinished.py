# SPDX-License-Identifier: Apache-2.0
"""Bags that split, die, or meet a full disk: what was written is read, what is not is named."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import NonSeekingReader, make_reader
from replay_bags import BEGIN, make_image, make_positions, write
from rosbags.rosbag2 import Reader

from dm0_ros.errors import Dm0Error
from dm0_ros.replay.bag import BagWriter, look_into, read_messages, read_raw
from dm0_ros.replay.salvage import repair
from dm0_ros.replay.writing import Limits

ROOT = Path(__file__).resolve().parents[1]
RANDOM = np.random.default_rng(0)


def write_seconds(writer, seconds, flush=True):
    """Commands, every tenth with a picture that does not compress."""
    for k in range(round(seconds * 100)):
        moment = BEGIN + k / 100
        write(writer, "/commands", moment, make_positions([float(k)]))
        if k % 10 == 0:
            picture = RANDOM.integers(0, 255, (100, 100, 3), np.uint8)
            write(writer, "/camera/high/image_raw", moment, make_image(moment, picture))
        if flush and k % 25 == 24:
            writer.flush()


def read_commands(path):
    return [message.content.data[0] for message in read_messages(path, ["/commands"])]


def test_splits_by_time_and_by_size(tmp_path):
    for name, limits, least in (
        ("seconds", Limits(seconds=1.0), 3),
        ("size", Limits(size=200_000), 4),
    ):
        writer = BagWriter(tmp_path / name, limits)
        writer.describe({"robot": "franka"})
        write_seconds(writer, 3.0)
        writer.close()
        files = sorted((tmp_path / name).glob("*.mcap"))
        assert len(files) >= least
        assert files[0].name == f"{name}_0.mcap"
        if limits.size:
            assert all(file.stat().st_size < 400_000 for file in files)
        contents = look_into(tmp_path / name)
        assert contents.counts == {"/commands": 300, "/camera/high/image_raw": 30}
        assert contents.custom == {"robot": "franka"} and contents.missing == ()
        assert read_commands(tmp_path / name) == list(range(300))
        with Reader(tmp_path / name) as reader:  # rosbags' own
            assert reader.message_count == 330
            assert len(list(reader.messages())) == 330
        for file in files:  # and each file alone, with mcap
            summary = make_reader(file.open("rb")).get_summary()
            assert {c.topic for c in summary.channels.values()} == set(contents.topics)
            assert look_into(file).topics == contents.topics


def test_what_was_flushed_is_read_while_it_is_recorded(tmp_path):
    writer = BagWriter(tmp_path / "bag", Limits(seconds=1.0))
    writer.describe({"robot": "franka"})
    write_seconds(writer, 2.5)
    assert (tmp_path / "bag" / "metadata.yaml").exists()
    before = {file: file.read_bytes() for file in (tmp_path / "bag").iterdir()}
    assert read_commands(tmp_path / "bag") == list(range(250))
    contents = look_into(tmp_path / "bag")
    assert contents.counts["/commands"] == 250
    assert contents.custom["robot"] == "franka"
    assert "bag_2.mcap was not closed" in contents.missing[0]
    assert {file: file.read_bytes() for file in (tmp_path / "bag").iterdir()} == before
    write(writer, "/commands", BEGIN + 9, make_positions([9.0]))
    writer.close()
    assert look_into(tmp_path / "bag").missing == ()
    assert read_commands(tmp_path / "bag")[-1] == 9.0


def test_messages_that_were_received_long_before_their_neighbours_begin_no_files(tmp_path):
    """A recorder that is held up takes a queue of one topic after the newest of another."""
    writer = BagWriter(tmp_path / "bag", Limits(seconds=2.0))
    for k in range(60):
        moment = BEGIN + k / 10
        write(writer, "/commands", moment, make_positions([float(k)]))
        write(writer, "/late", moment - 5.0, make_positions([float(k)]))
    writer.close()
    assert len(list((tmp_path / "bag").glob("*.mcap"))) == 3
    assert look_into(tmp_path / "bag").counts == {"/commands": 60, "/late": 60}


def test_topics_that_were_known_long_before_their_first_message_are_found(tmp_path):
    """Their declaration is in a chunk that has none of their messages, as in every graph."""
    writer = BagWriter(tmp_path / "bag")
    write(writer, "/a", BEGIN, make_positions([0.0]))
    writer.flush()
    for topic in ("/b", "/c", "/d"):
        writer.add_topic(topic, "std_msgs/msg/Float64MultiArray")
    writer.add_topic("/camera", "sensor_msgs/msg/Image")
    writer.add_topic("/never", "sensor_msgs/msg/JointState")
    for k in range(1, 4):
        write(writer, "/a", BEGIN + k, make_positions([float(k)]))
        writer.flush()
    write(writer, "/camera", BEGIN + 5, make_image(BEGIN + 5, np.zeros((2, 2, 3), np.uint8)))
    write(writer, "/c", BEGIN + 5, make_positions([5.0]))
    writer.flush()
    write(writer, "/b", BEGIN + 6, make_positions([6.0]))
    writer.flush()
    found = {"/a": 4, "/b": 1, "/c": 1, "/camera": 1}
    assert found.items() <= look_into(tmp_path / "bag").counts.items()
    (sentence,) = repair(tmp_path / "bag")
    assert "was not closed" in sentence
    assert found.items() <= look_into(tmp_path / "bag").counts.items()
    with Reader(tmp_path / "bag") as reader:
        assert reader.message_count == 7 and len(list(reader.messages())) == 7


def cut(path, places):
    """Copies of a bag of one file that end at these places."""
    for place in places:
        copy = path.with_name(f"cut{place}")
        shutil.copytree(path, copy)
        with (copy / "bag.mcap").open("r+b") as file:
            file.truncate(place)
        yield copy


def test_every_cut_is_read_and_can_be_repaired(tmp_path):
    writer = BagWriter(tmp_path / "bag")
    write_seconds(writer, 1.0)
    size = (tmp_path / "bag" / "bag.mcap").stat().st_size
    seen = set()
    for copy in cut(tmp_path / "bag", range(size // 3, size, size // 40 + 1)):
        found = read_commands(copy)
        assert found == list(range(len(found))) and len(found) % 25 == 0
        seen.add(len(found))
        (sentence,) = repair(copy)
        assert "was not closed" in sentence
        assert read_commands(copy) == found
        with Reader(copy) as reader:
            assert reader.message_count == sum(look_into(copy).counts.values())
        with (copy / "bag.mcap").open("rb") as file:
            assert len(list(make_reader(file).iter_messages(["/commands"]))) == len(found)
        assert look_into(copy).missing == (sentence,), "it still says so"
        assert repair(copy) == ()
    assert seen == {25, 50, 75}
    writer.close()


def test_an_index_that_was_cut_is_made_again(tmp_path):
    writer = BagWriter(tmp_path / "bag")
    write_seconds(writer, 0.25)
    size = (tmp_path / "bag" / "bag.mcap").stat().st_size
    (copy,) = cut(tmp_path / "bag", [size - 20])  # in the index of the only chunk
    assert read_commands(copy) == list(range(25))
    writer.close()


def test_a_file_that_metadata_knows_and_is_not_there_is_named(tmp_path):
    writer = BagWriter(tmp_path / "bag", Limits(seconds=1.0))
    write_seconds(writer, 2.5)
    writer.close()
    (tmp_path / "bag" / "bag_1.mcap").unlink()
    assert look_into(tmp_path / "bag").missing == ("bag_1.mcap is not there any more",)
    assert len(read_commands(tmp_path / "bag")) == 150


def test_repair_of_what_is_no_recording(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.mcap").write_text("hello")
    for name in ("absent", "folder", "text.mcap"):
        with pytest.raises(Dm0Error, match=f"{name}: there is no recording in it"):
            repair(tmp_path / name)


RECORD = """
import resource, sys, time
sys.path.insert(0, {test!r})
from pathlib import Path
from test_replay_unfinished import write_seconds
from dm0_ros.errors import Dm0Error
from dm0_ros.replay.bag import BagWriter
limit = {limit}
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
writer = BagWriter(Path({path!r}))
try:
    write_seconds(writer, 3.0)
except Dm0Error as error:
    writer.describe({{"late": "fact"}})
    writer.note_missing("no message of joint_states came")
    writer.close()
    sys.exit(str(error))
print("written", flush=True)
time.sleep(60)
"""


def start(path, limit=0):
    text = RECORD.format(test=str(ROOT / "test"), path=str(path), limit=limit)
    return subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_killed_recorder_leaves_all_that_was_flushed(tmp_path):
    process = start(tmp_path / "bag")
    assert process.stdout.readline() == "written\n", process.communicate()[1]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert read_commands(tmp_path / "bag") == list(range(300))


@pytest.mark.parametrize("limit", [100_000, 400_000])
def test_full_disk_is_a_named_error_and_a_readable_bag(tmp_path, limit):
    process = start(tmp_path / "bag", limit)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "cannot go on recording to" in said and "File too large" in said
    assert f"dm0 record --repair {tmp_path / 'bag'}" in said
    found = read_commands(tmp_path / "bag")
    assert found == list(range(len(found))) and 0 < len(found) < 300
    contents = look_into(tmp_path / "bag")
    assert contents.counts["/commands"] == len(found)
    assert any("File too large" in sentence for sentence in contents.missing)
    assert "no message of joint_states came" in contents.missing
    assert contents.custom["late"] == "fact"
    repair(tmp_path / "bag")
    with Reader(tmp_path / "bag") as reader:
        assert len(list(reader.messages())) == reader.message_count > 0


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="mounts a tmpfs")
def test_full_tmpfs(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("not allowed to mount a tmpfs here")
    try:
        writer = BagWriter(place / "bag")
        with pytest.raises(Dm0Error, match="No space left on device"):
            write_seconds(writer, 3.0)
        writer.close()
        found = read_commands(place / "bag")
        assert found == list(range(len(found))) and 0 < len(found) < 300
        with pytest.raises(Dm0Error, match=r"cannot record|cannot go on"):
            BagWriter(place / "bag")
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_recording_ends_before_the_disk_is_full(tmp_path):
    writer = BagWriter(tmp_path / "bag", Limits(keep_free=1 << 62))
    write(writer, "/commands", BEGIN, make_positions([0.0]))
    with pytest.raises(Dm0Error, match=r"only \d+ MB are left on the disk"):
        writer.flush()
    with pytest.raises(Dm0Error, match="are left"):
        write(writer, "/commands", BEGIN + 1, make_positions([1.0]))
    writer.close()
    assert "MB are left" in look_into(tmp_path / "bag").missing[0]
    assert read_commands(tmp_path / "bag") == [0.0]
    with (tmp_path / "bag" / "bag.mcap").open("rb") as file:
        assert len(list(NonSeekingReader(file).iter_messages())) == 1


def test_order_of_reception_is_kept_within_a_chunk(tmp_path):
    writer = BagWriter(tmp_path / "bag")
    for moment in (3, 1, 2):
        write(writer, "/commands", BEGIN + moment, make_positions([float(moment)]))
    writer.flush()
    assert [message.time for message in read_raw(tmp_path / "bag")] == [
        BEGIN + 1,
        BEGIN + 2,
        BEGIN + 3,
    ]
    writer.close()
