# SPDX-License-Identifier: Apache-2.0
"""Bags to datasets of both formats and back: what comes out is what went in."""

import json
import subprocess
import sys

import numpy as np
import pytest
from dataset_bags import BEGIN, NAMES, ROBOT, SLOTS, measured, shade, write_bag
from test_datasets_from_bags import STEP, load, make_cut

from dm0_ros.datasets.from_bags import convert
from dm0_ros.datasets.settings import Format
from dm0_ros.datasets.to_bag import write_bag as write_episode
from dm0_ros.errors import Dm0Error
from dm0_ros.replay.bag import look_into, read_messages
from dm0_ros.replay.marks import read_marks
from dm0_ros.replay.pictures import read_frames
from dm0_ros.training.sources.lerobot import ABOUT
from dm0_ros.training.sources.opening import open_source
from dm0_ros.training.sources.sample import SourceError
from dm0_ros.training.sources.settings import ActionSource, SourceKind, SourceSettings
from dm0_ros.training.sources.stored import StoredIndex

TASKS = ((1.0, 3.0, "touch the red block"), (4.0, 5.5, "touch the blue one"))
FORMATS = [Format.EPISODES, Format.LEROBOT]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The same bag as a dataset of each format."""
    pytest.importorskip("av", reason="of the extra 'train'")
    pytest.importorskip("pyarrow", reason="of the extra 'train'")
    folder = tmp_path_factory.mktemp("made")
    bag = write_bag(folder / "bag", episodes=TASKS, end=6.5, size=lambda *_: 32)
    for kind in FORMATS:
        convert([bag], folder / kind.value, make_cut(), kind, command="dm0 test")
    return folder


def open_made(made, kind, **changes):
    keys = {Format.EPISODES: "{}", Format.LEROBOT: "observation.images.{}"}
    settings = {
        "kind": SourceKind(kind.value),
        "path": str(made / kind.value),
        "robot": "franka",
        "layout": "joint",
        "cameras": {keys[kind].format(slot): slot for slot in SLOTS},
        "actions": ActionSource.ACTION,
        "step": STEP,
        "rows": 4,
    }
    return open_source(SourceSettings(**(settings | changes)))


@pytest.mark.parametrize("kind", FORMATS)
def test_training_reads_what_was_recorded(made, kind):
    source = open_made(made, kind)
    assert len(source) == 2
    for number, (begin, _, instruction) in enumerate(TASKS):
        for frame, sample in enumerate(source.episode(number)):
            seconds = begin + 0.1 + STEP * frame
            assert sample.instruction == instruction
            np.testing.assert_allclose(sample.state, measured(seconds), atol=1e-6)
            last = begin + 0.1 + STEP * (source.size(number) - 1)
            due = np.minimum(seconds + STEP * np.arange(4), last)
            np.testing.assert_allclose(sample.rows, measured(due) + 0.05, atol=1e-5)
            newest = int(seconds / 0.1 + 1e-3)
            for slot in SLOTS:
                grey = sample.pictures[slot].astype(int)
                assert grey.shape == (32, 32, 3)
                apart = 0 if kind is Format.EPISODES else 3
                assert abs(grey - shade(newest, slot)).max() <= apart


def test_a_lerobot_folder_says_where_it_comes_from(made):
    about = json.loads((made / "lerobot" / ABOUT).read_text())
    assert about["command"] == "dm0 test" and len(about["episodes"]) == 2
    assert about == StoredIndex.load(made / "episodes").about


@pytest.mark.parametrize("kind", FORMATS)
def test_an_episode_becomes_a_bag_and_that_a_dataset_again(made, kind, tmp_path):
    bag = tmp_path / "bag"
    written = write_episode(made / kind.value, 1, bag)
    assert written.instruction == TASKS[1][2] and abs(written.seconds - 1.4) < 1e-6
    assert sum(look_into(bag).counts.values()) == written.messages
    (mark,) = read_marks(bag)
    assert mark.instruction == TASKS[1][2] and abs(mark.begin - BEGIN - 4.1) < 1e-6
    (spoken,) = read_messages(bag, ["/instruction"])
    assert spoken.content.data == TASKS[1][2]
    frames = list(read_frames(bag, f"/camera/{SLOTS[1]}/compressed"))
    for row, frame in enumerate(frames):
        assert abs(frame.time - BEGIN - 4.1 - STEP * row) < 1e-6
        assert abs(frame.picture.astype(int) - shade(41 + row, SLOTS[1])).max() <= 4
    joints = [message.content for message in read_messages(bag, ["/joint_states"])]
    assert len(joints) == len(frames) == 15
    finger = list(joints[0].name).index("fr3_finger_joint1")
    # the driver's finger has half of the opening
    np.testing.assert_allclose(joints[3].position[finger], measured(4.4)[-1] / 2, atol=1e-6)
    convert([bag], tmp_path / "again", make_cut(), Format.EPISODES)
    index = StoredIndex.load(tmp_path / "again")
    times, states, actions, _ = load(tmp_path / "again", index)
    np.testing.assert_allclose(times, 4.1 + STEP * np.arange(15), atol=1e-6)
    np.testing.assert_allclose(states, measured(times), atol=1e-6)
    np.testing.assert_allclose(actions, measured(times) + 0.05, atol=1e-6)


def test_data_from_elsewhere_need_a_robot_and_lose_strange_cameras(tmp_path):
    pytest.importorskip("av", reason="of the extra 'train'")
    from dm0_ros.training.sources.lerobot_writer import Description, Episode, write_lerobot

    pictures = {name: [np.zeros((16, 16, 3), np.uint8)] * 5 for name in ("high", "behind")}
    rows = np.tile(np.arange(len(NAMES)), (5, 1))
    folder = write_lerobot(
        tmp_path / "data",
        [Episode("wave", rows, rows, pictures)],
        Description(10, NAMES, NAMES, {"high": (16, 16), "behind": (16, 16)}),
    )
    with pytest.raises(Dm0Error, match="add --robot and --layout"):
        write_episode(folder, 0, tmp_path / "bag")
    written = write_episode(folder, 0, tmp_path / "bag", "franka", "joint")
    assert written.strange == ("observation.images.behind",)
    topics = look_into(tmp_path / "bag").topics
    assert "/camera/high/compressed" in topics and "/camera/behind/compressed" not in topics


def test_what_cannot_become_a_bag_is_refused(made, tmp_path):
    with pytest.raises(Dm0Error, match="has no episode 2; its 2 are 0 to 1"):
        write_episode(made / "lerobot", 2, tmp_path / "bag")
    with pytest.raises(Dm0Error, match="so it is no dataset"):
        write_episode(tmp_path, 0, tmp_path / "bag")
    with pytest.raises(Dm0Error, match="layout pose has poses"):
        write_episode(made / "episodes", 0, tmp_path / "bag", layout="pose")
    (tmp_path / "there").mkdir()
    with pytest.raises(Dm0Error, match="there"):
        write_episode(made / "episodes", 0, tmp_path / "there")
    assert (tmp_path / "there").is_dir() and not (tmp_path / "bag").exists()


def test_a_bag_that_breaks_half_way_is_not_left_behind(made, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for path in (made / "episodes").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    broken = bytearray((folder / "000000.zip").read_bytes())
    place = broken.rfind(b"IEND", 0, len(broken) // 2)
    broken[place - 40 : place - 8] = bytes(32)
    (folder / "000000.zip").write_bytes(broken)
    with pytest.raises(SourceError, match="episode 0"):
        write_episode(folder, 0, tmp_path / "bag")
    assert not (tmp_path / "bag").exists()


def break_index(folder):
    (folder / "episodes.json").write_text('{"format": "something else"}')


def cut_file(folder):
    path = folder / "000000.zip"
    path.write_bytes(path.read_bytes()[:500])


BROKEN = {
    "no index": (lambda folder: (folder / "episodes.json").unlink(), "see dm0 dataset from-bags"),
    "another format": (break_index, "is of another format"),
    "a file that is cut": (cut_file, "episode 0: .*000000.zip cannot be read"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_folder_of_episodes_is_named(made, tmp_path, name):
    folder = tmp_path / "episodes"
    folder.mkdir()
    for path in (made / "episodes").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    harm, text = BROKEN[name]
    harm(folder)
    with pytest.raises(SourceError, match=text):
        list(open_made(tmp_path, Format.EPISODES).episode(0))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"cameras": {"front": "high"}}, "no camera 'front', only right_hand"),
        ({"fps": 25.0}, "is 25, but the data say 10"),
        ({"robot": "arx5"}, "states: has no"),
        ({"robot": None, "layout": None, "step": None, "cameras": {}}, "is missing: such data"),
    ],
)
def test_settings_that_do_not_fit_a_folder_of_episodes(made, changes, text):
    with pytest.raises(SourceError, match=text):
        open_made(made, Format.EPISODES, **changes)


def test_at_a_terminal(made, tmp_path):
    """Both ways, by the commands."""

    def type_in(*words):
        command = [sys.executable, "-m", "dm0_ros.cli", "dataset", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True)

    bag, data, again = made / "bag", tmp_path / "data", tmp_path / "again"
    done = type_in("from-bags", bag, "--robot", "franka", "--out", data, "--step", 0.1)
    assert done.returncode == 0, done.stderr
    assert "2 episodes, 35 rows of 0.1 s; 0 episodes left out" in done.stdout
    done = type_in("to-bag", data, "--episode", 1, "--out", again)
    assert done.returncode == 0, done.stderr
    assert "1.4 s: touch the blue one" in done.stdout
    for words, text in (
        (("from-bags", bag, "--robot", "franka", "--out", data, "--rate", 10), "exists"),
        (("from-bags", bag, "--robot", "franka", "--out", "x"), "say --rate or --step"),
        (("from-bags", bag, "--robot", "franka", "--out", "x", "--rate", 5, "--step", 1), "same"),
        (("to-bag", data, "--episode", 7, "--out", "x"), "has no episode 7"),
    ):
        done = type_in(*words)
        assert done.returncode == 1 and text in done.stderr and "Traceback" not in done.stderr


def test_lerobot_itself_reads_the_folder(made):
    """With its own classes: numbers, task, pictures out of the video, rows of the future."""
    pytest.importorskip("lerobot", reason="not one of our packages: docs/data.md says how")
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    ahead = {"action": [0.0, 0.1, 0.2]}
    data = LeRobotDataset(
        "dm0/test", root=made / "lerobot", delta_timestamps=ahead, video_backend="pyav"
    )
    assert (data.num_episodes, len(data), data.fps) == (2, 35, 10)
    item = data[23]  # row 3 of the second episode, 0.4 s after its mark
    np.testing.assert_allclose(item["observation.state"], measured(4.4), atol=1e-6)
    due = 4.4 + STEP * np.arange(3)
    np.testing.assert_allclose(item["action"], measured(due) + 0.05, atol=1e-6)
    assert item["task"] == TASKS[1][2]
    picture = item[f"observation.images.{SLOTS[0]}"]
    assert tuple(picture.shape) == (3, 32, 32)
    assert abs(float(picture.mean()) * 255 - shade(44, SLOTS[0])) < 3
    assert ROBOT.name == data.meta.robot_type
