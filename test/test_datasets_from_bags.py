# SPDX-License-Identifier: Apache-2.0
"""Bags whose every number is known become datasets; what cannot be used is named."""

import tracemalloc

import numpy as np
import pytest
from dataset_bags import (
    BEGIN,
    CAMERA_PERIOD,
    LEAD,
    NAMES,
    ROBOT,
    SIZE,
    SLOTS,
    Script,
    add_commands,
    add_marks,
    add_plan,
    make_jpeg,
    measured,
    shade,
    write_bag,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from replay_bags import make, make_header

from dm0_ros.datasets import from_bags
from dm0_ros.datasets.from_bags import convert, find_step
from dm0_ros.datasets.settings import ALL, Cut, Format
from dm0_ros.errors import Dm0Error
from dm0_ros.policy.marks import TELEOPERATION
from dm0_ros.robots.kinematics import Chain, euler_from_pose, load_urdf
from dm0_ros.training.sources.stored import StoredFile, StoredIndex

STEP = 0.1


def make_cut(**changes):
    given = {"robot": ROBOT, "layout": "joint", "step": STEP, "slots": SLOTS}
    return Cut(**(given | changes))


def make_dataset(folder, script=None, **changes):
    """A dataset of our own of one bag; ``changes`` of the cut."""
    bag = write_bag(folder / "bag", script)
    outcome = convert([bag], folder / "data", make_cut(**changes), Format.EPISODES)
    return outcome, StoredIndex.load(folder / "data")


def load(folder, index, number=0):
    """Times since BEGIN, states, actions, and pictures by slot."""
    with StoredFile(folder / index.episodes[number].file, "test") as file:
        frames = index.episodes[number].frames
        pictures = {s: [file.picture(s, f)[0, 0, 0] for f in range(frames)] for s in index.cameras}
        arrays = (file.array(name) for name in ("times", "states", "actions"))
        times, states, actions = arrays
    return times - BEGIN, states, actions, pictures


def why_left_out(folder, script, **changes):
    """The sentence about the only episode, beside which a good one stays."""
    bags = [write_bag(folder / "bad", script), write_bag(folder / "good")]
    kept = make_cut(**({"instruction": "wait"} | changes))
    outcome = convert(bags, folder / "data", kept, Format.EPISODES)
    about = StoredIndex.load(folder / "data").about
    assert outcome.episodes == 1 and about["episodes"][0]["bag"] == 1
    ((bag, _, why),) = outcome.left_out
    assert bag == str(bags[0])
    assert about["left_out"][0]["why"] == why
    return why


def test_rows_are_what_was_known_at_their_time(tmp_path):
    outcome, index = make_dataset(tmp_path)
    assert (outcome.episodes, outcome.left_out, outcome.notes) == (1, [], [])
    times, states, actions, pictures = load(tmp_path / "data", index)
    # from the first command, 0.1 s after the episode's beginning, to its end
    np.testing.assert_allclose(times, 1.1 + STEP * np.arange(20), atol=1e-6)
    np.testing.assert_allclose(states, measured(times), atol=1e-6)
    np.testing.assert_allclose(actions, measured(times) + LEAD, atol=1e-6)
    for slot in SLOTS:
        newest = np.floor(times / CAMERA_PERIOD + 1e-3).astype(int)
        assert pictures[slot] == [shade(number, slot) for number in newest]
    episode = index.episodes[0]
    assert (episode.frames, episode.instruction) == (20, "touch the red block")
    assert (index.robot, index.layout, index.fps) == ("franka", "joint", 10.0)
    assert index.states == index.actions == ROBOT.layout("joint").columns


@given(
    rate=st.integers(3, 40),
    seed=st.integers(0, 2**31),
    begin=st.floats(0.8, 1.2),
    lasts=st.floats(1.0, 2.0),
    period=st.sampled_from((0.01, 0.033, 0.1)),
    jitter=st.floats(0.0, 0.2),
)
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_stamps_decide_and_reception_does_not(
    tmp_path_factory, rate, seed, begin, lasts, period, jitter
):
    """Whatever the delays are, in whatever order cameras and joints arrive."""
    folder, random = tmp_path_factory.mktemp("random"), np.random.default_rng(seed)
    clocks = {}

    def delay(topic, seconds):
        if topic in ("episode", *(sink.topic for sink in ROBOT.sinks)):
            return 0.0
        # one topic's messages stay in their order
        clocks[topic] = max(clocks.get(topic, 0.0), seconds + random.uniform(0, jitter))
        return clocks[topic] - seconds

    script = Script(
        episodes=((begin, begin + lasts, "touch it"),), joint_period=period, delay=delay
    )
    _, index = make_dataset(folder, script, step=1 / rate)
    times, states, _, pictures = load(folder / "data", index)
    np.testing.assert_allclose(np.diff(times), 1 / rate, atol=1e-6)
    assert begin + lasts - 1 / rate - period < times[-1] <= begin + lasts + 1e-6
    np.testing.assert_allclose(states, measured(times), atol=1e-6)
    for slot in SLOTS:
        newest = np.floor((times + 2e-6) / CAMERA_PERIOD).astype(int)
        assert pictures[slot] == [shade(number, slot) for number in newest]


def test_positions_are_interpolated_between_two_measurements(tmp_path):
    def bend(seconds):
        return measured(seconds) + (0.1 if round(seconds / 0.2) % 2 else 0.0)

    script = Script(joint_period=0.2, position=bend)
    _, index = make_dataset(tmp_path, script)
    times, states, _, _ = load(tmp_path / "data", index)
    knots = np.arange(0, 4, 0.2)
    expected = [np.interp(times, knots, [bend(k)[c] for k in knots]) for c in range(len(NAMES))]
    np.testing.assert_allclose(states, np.stack(expected, -1), atol=1e-6)


def test_poses_are_those_of_the_joints(tmp_path):
    home = np.array([ROBOT.home[name] for name in NAMES])
    script = Script(
        position=lambda s: home + 0.1 * measured(s), command=lambda s: home + 0.2 * measured(s)
    )
    _, index = make_dataset(tmp_path, script, layout="pose")
    times, states, actions, _ = load(tmp_path / "data", index)
    end = ROBOT.end_effectors[0]
    chain = Chain(load_urdf(ROBOT), end.base, end.tip)
    for found, values in ((states, script.position), (actions, script.command)):
        positions = values(times[7])
        pose = chain.pose(dict(zip(NAMES, positions, strict=True)))
        expected = [*pose[:3, 3], *euler_from_pose(pose), positions[-1]]
        np.testing.assert_allclose(found[7], expected, atol=1e-5)


def test_what_was_commanded_before_an_episode_is_of_another_scene(tmp_path):
    """A command from before is not held: until there is a new one, the joint stays."""
    gripper = ROBOT.sinks[1].topic

    def command_before(tape):
        for seconds in (0.5, 0.9):
            add_commands(tape, seconds)

    script = Script(
        lose=lambda topic, s: topic == gripper and 1.0 < s < 1.99,
        command=lambda s: measured(s) + (LEAD if s > 1 else 9.0),
        extra=command_before,
    )
    _, index = make_dataset(tmp_path, script)
    times, states, actions, _ = load(tmp_path / "data", index)
    early = times < 2.0 - 1e-6
    np.testing.assert_allclose(actions[early, -1], states[early, -1])
    np.testing.assert_allclose(
        actions[~early, -1], measured(times[~early])[:, -1] + LEAD, atol=1e-6
    )
    np.testing.assert_allclose(actions[:, :-1], measured(times)[:, :-1] + LEAD, atol=1e-6)


LOST = {
    "a camera that pauses": (
        {"lose": lambda t, s: t == "camera/high/image_raw" and 1.5 < s < 2.2},
        "the newest picture of camera 'high' is 0.400 s old at 0.900 s, and 0.3 s are allowed",
    ),
    "a camera that begins late": (
        {"lose": lambda t, s: t == "camera/high/image_raw" and s < 1.45},
        "the first picture of camera 'high' is 0.400 s late",
    ),
    "a camera that was not recorded then": (
        {"lose": lambda t, s: t == "camera/high/image_raw" and s > 0.05},
        "camera 'high'",
    ),
    "a camera that was never recorded": (
        {"lose": lambda t, s: t == "camera/high/image_raw"},
        "the bag has no pictures of camera 'high'",
    ),
    "joints that pause": (
        {"lose": lambda t, s: t == "joint_states" and 1.5 < s < 2.2},
        "positions of fr3_joint1, 0.500 s in: nothing for 0.700 s, and 0.5 s are allowed",
    ),
    "joints that end early": (
        {"lose": lambda t, s: t == "joint_states" and s > 2.2},
        "the last position of fr3_joint1 is 0.800 s before its end",
    ),
    "no joints": (
        {"lose": lambda t, s: t == "joint_states" and s > 0.01, "end": 3.5},
        "fr3_joint1",
    ),
    "a position that is none": (
        {"position": lambda s: measured(s) * (np.nan if abs(s - 2) < 0.005 else 1.0)},
        "the position of fr3_joint1 is nan at 1.000 s",
    ),
    "a clock that jumps ahead": (
        {"stamp": lambda t, s: s + (30.0 if t == "joint_states" and s > 2.0 else 0.0)},
        "jumped by +30",
    ),
    "a clock that jumps back": (
        {"stamp": lambda t, s: s - (5.0 if t.startswith("camera") and s > 2.0 else 0.0)},
        "jumped by -5",
    ),
    "a clock that is another": (
        {"stamp": lambda t, s: s - (100.0 if t == "joint_states" else 0.0)},
        "their stamps are -100.003 s off their reception",
    ),
    "no commands": (
        {"lose": lambda t, s: t == ROBOT.sinks[0].topic},
        "no commands of fr3_joint1, fr3_joint2",
    ),
    "a command that is no number": (
        {"command": lambda s: measured(s) * (np.nan if s > 2 else 1.0)},
        "forward_position_controller/commands: a command is [nan",
    ),
    "too short": ({"episodes": ((1.0, 1.3, "touch it"),)}, "lasts 0.20 s from its first command"),
    "cut by the bag's end": (
        {"episodes": ((1.0, 9.0, "touch it"),), "lose": lambda t, s: t == "episode" and s > 2},
        "the recording ended within it",
    ),
    "another size in its midst": (
        {"size": lambda slot, number: 16 if number < 20 else 18},
        "pictures of camera 'right_hand' are (16, 16), and then (18, 18)",
    ),
    "another size than the others": (
        {"size": lambda slot, number: 18},
        "its pictures are",
    ),
}


@pytest.mark.parametrize("name", LOST)
def test_what_cannot_be_used_is_left_out_and_named(tmp_path, name):
    changes, text = LOST[name]
    if name == "another size than the others":
        third = [write_bag(tmp_path / "third")]
        bags = [write_bag(tmp_path / "bad", **changes), write_bag(tmp_path / "good"), *third]
        outcome = convert(bags, tmp_path / "data", make_cut(), Format.EPISODES)
        assert outcome.episodes == 2
        ((_, _, why),) = outcome.left_out
    else:
        why = why_left_out(tmp_path, Script(**changes))
    assert text in why


def test_an_episode_needs_an_instruction(tmp_path):
    script = Script(episodes=((1.0, 3.0, ""),))
    assert "has no instruction" in why_left_out(tmp_path / "none", script, instruction="")
    _, index = make_dataset(tmp_path / "given", script, instruction="stack them")
    assert index.episodes[0].instruction == "stack them"


@pytest.mark.parametrize(
    ("outcome", "touched", "text"),
    [
        ("succeeded", {}, None),
        ("cancelled", {2.9: "red", 3.2: ""}, None),
        ("cancelled", {2.9: "blue"}, "was not successful: cancelled, and the simulator saw blue"),
        ("time_limit", {}, "was not successful: time_limit"),
        ("cancelled", {0.5: "red"}, "was not successful: cancelled"),
        ("", {}, "was not successful: nobody judged"),
    ],
)
def test_only_successes_where_that_is_asked_for(tmp_path, outcome, touched, text):
    script = Script(outcome=outcome, touched=touched)
    if text is None:
        _, index = make_dataset(tmp_path, script, only_successful=True)
        assert len(index.episodes) == 1
    else:
        assert text in why_left_out(tmp_path, script, only_successful=True)


def test_joints_that_nobody_commands_can_stay_as_measured(tmp_path):
    gripper = ROBOT.sinks[1]
    script = Script(lose=lambda topic, s: topic == gripper.topic)
    _, index = make_dataset(tmp_path / "one", script, measured=gripper.names)
    times, states, actions, _ = load(tmp_path / "one/data", index)
    np.testing.assert_array_equal(actions[:, -1], states[:, -1])
    np.testing.assert_allclose(actions[:, 0], measured(times)[:, 0] + LEAD, atol=1e-6)
    led_by_hand = Script(lose=lambda topic, s: topic in [sink.topic for sink in ROBOT.sinks])
    _, index = make_dataset(tmp_path / "all", led_by_hand, measured=(ALL,))
    times, states, actions, _ = load(tmp_path / "all/data", index)
    np.testing.assert_array_equal(actions, states)
    assert abs(times[0] - 1.0) < 1e-6  # there is no command to wait for


def test_a_bag_without_marks_and_plans_is_one_episode_if_one_says_what_it_is(tmp_path):
    write_bag(tmp_path / "none", Script(marked=False, episodes=((0.5, 3.5, ""),)))
    with pytest.raises(Dm0Error, match="neither marks of episodes nor plans"):
        convert([tmp_path / "none"], tmp_path / "data", make_cut(), Format.EPISODES)
    whole = make_cut(instruction="fold it")
    outcome = convert([tmp_path / "none"], tmp_path / "whole", whole, Format.EPISODES)
    index = StoredIndex.load(tmp_path / "whole")
    times, *_ = load(tmp_path / "whole", index)
    assert outcome.episodes == 1 and index.episodes[0].instruction == "fold it"
    assert abs(times[0] - 0.6) < 1e-6 and times[-1] > 3.8


def test_plans_split_a_bag_by_their_instructions(tmp_path):
    tasks = ((0.5, 2.5, "one"), (3.0, 5.0, "two"))

    def add_plans(tape):
        for begin, end, instruction in tasks:
            for seconds in np.arange(begin, end + 1e-6, 0.2):
                add_plan(tape, seconds, instruction)

    bag = write_bag(tmp_path / "bag", marked=False, end=6.0, episodes=tasks, extra=add_plans)
    convert([bag], tmp_path / "data", make_cut(), Format.EPISODES)
    index = StoredIndex.load(tmp_path / "data")
    assert [episode.instruction for episode in index.episodes] == ["one", "two"]
    for number, (begin, end) in enumerate(((0.6, 2.5), (3.1, 5.0))):
        times, *_ = load(tmp_path / "data", index, number)
        assert abs(times[0] - begin) < 1e-5 and end - STEP <= times[-1] <= end + 1e-5
    assert find_step([bag], "") == pytest.approx(0.1)
    with pytest.raises(Dm0Error, match="no plans to say how far rows are apart"):
        find_step([write_bag(tmp_path / "other")], "")


def test_who_marks_by_hand_does_it_by_the_machine_s_clock(tmp_path):
    """Where others follow /clock, what it says when a mark comes is meant."""

    def mark(tape):
        add_marks(tape, "hand", 1.0, 3.0, "pour", "", TELEOPERATION)

    script = Script(marked=False, episodes=((1.0, 3.0, ""),), clock=500.0, extra=mark)
    bag = write_bag(tmp_path / "bag", script)
    convert([bag], tmp_path / "data", make_cut(), Format.EPISODES)
    times, states, _, _ = load(tmp_path / "data", StoredIndex.load(tmp_path / "data"))
    assert abs(times[0] + 500 - 1.1) < 0.03 and 2.85 < times[-1] + 500 <= 3.0
    np.testing.assert_allclose(states, measured(times + 500), atol=1e-6)


def test_all_episodes_of_all_bags_in_their_order(tmp_path):
    tasks = tuple((1.0 + 2 * n, 2.5 + 2 * n, f"task {n}") for n in range(3))
    bags = [write_bag(tmp_path / f"bag{n}", episodes=tasks, end=8.0) for n in range(3)]
    heard = []
    one = convert(bags, tmp_path / "one", make_cut(), Format.EPISODES, told=heard.append)
    many = convert(bags, tmp_path / "many", make_cut(), Format.EPISODES, jobs=3)
    assert (one.episodes, one.frames) == (many.episodes, many.frames) == (9, 9 * 15)
    assert [report.bag for report in heard] == [str(bag) for bag in bags]
    first, second = (StoredIndex.load(tmp_path / name) for name in ("one", "many"))
    assert first.about["episodes"] == second.about["episodes"]
    assert [episode.instruction for episode in first.episodes] == [
        "task 0",
        "task 1",
        "task 2",
    ] * 3
    for number in range(9):
        parts = load(tmp_path / "one", first, number), load(tmp_path / "many", second, number)
        for a, b in zip(*parts, strict=True):
            np.testing.assert_equal(a, b)


def test_where_data_come_from_is_kept(tmp_path):
    _, index = make_dataset(tmp_path, Script(outcome="succeeded"))
    about = index.about
    assert about["robot"] == "franka" and len(about["robot_digest"]) == 64
    assert about["bags"][0]["path"] == str(tmp_path / "bag")
    (episode,) = about["episodes"]
    assert episode["mark"] == "e0" and episode["outcome"] == "succeeded"
    assert abs(episode["begin"] - BEGIN - 1.1) < 1e-6 and episode["waited"] == pytest.approx(0.1)
    assert all(0 <= age < CAMERA_PERIOD + 1e-3 for age in episode["oldest_picture"].values())


def test_a_folder_appears_when_all_of_it_is_written(tmp_path, monkeypatch):
    bag, out = write_bag(tmp_path / "bag"), tmp_path / "data"

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(from_bags.StoredIndex, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        convert([bag], out, make_cut(), Format.EPISODES)
    assert not out.exists()
    with pytest.raises(Dm0Error, match="unfinished exists; remove it"):
        convert([bag], out, make_cut(), Format.EPISODES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bag", "data.unfinished"]


REFUSED = {
    "a folder that is there": ({}, {"out": "bag"}, "bag exists; remove it"),
    "a bag twice": ({}, {"twice": True}, "named twice"),
    "no bag": ({}, {"bags": ["nowhere"]}, "there is no such file or folder"),
    "nothing of use": ({"outcome": ""}, {"only_successful": True}, "no episode can be used"),
    "a rate that LeRobot has not": ({}, {"step": 0.15}, "whole frames a second, and 6.66667"),
    "pictures that no video has": ({"size": lambda *_: 15}, {}, "are 15x15, and videos have even"),
    "another graph": ({}, {"namespace": "left"}, "nothing below /left/"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_dataset_is_refused(tmp_path, name):
    script, asked, text = REFUSED[name]
    bag, asked = write_bag(tmp_path / "bag", **script), dict(asked)
    out = tmp_path / asked.pop("out", "data")
    bags = [tmp_path / one for one in asked.pop("bags", ["bag"])] * (1 + asked.pop("twice", False))
    with pytest.raises(Dm0Error, match=text):
        convert(bags, out, make_cut(**asked), Format.LEROBOT)
    assert [path.name for path in tmp_path.iterdir()] == [bag.name]  # and nothing is left behind


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"slots": ("front",)}, "no camera slot front; known are right_hand"),
        ({"measured": ("wrist",)}, "has no wrist; known are fr3_joint1"),
        ({"layout": "feet"}, "feet"),
    ],
)
def test_what_the_robot_has_not_is_refused(changes, text):
    with pytest.raises(Dm0Error, match=text):
        make_cut(**changes)


def test_memory_is_that_of_an_episode_and_not_of_all(tmp_path):
    tasks = tuple((1.0 + n, 1.8 + n, f"task {n}") for n in range(12))
    sizes = {"size": lambda slot, number: 128}
    few = write_bag(tmp_path / "few", episodes=tasks[:3], end=4.5, **sizes)
    many = write_bag(tmp_path / "many", episodes=tasks, end=13.5, **sizes)
    peaks = []
    for bag in (few, few, many):  # the first also loads what stays
        tracemalloc.start()
        convert([bag], tmp_path / f"data{len(peaks)}", make_cut(), Format.EPISODES)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.5 * peaks[1]


def test_compressed_pictures_stay_as_they_were_sent(tmp_path):
    _, index = make_dataset(tmp_path, Script(compressed=True))
    times, _, _, pictures = load(tmp_path / "data", index)
    with StoredFile(tmp_path / "data" / index.episodes[0].file, "test") as file:
        for frame in (0, 7):
            number = int(times[frame] / CAMERA_PERIOD + 1e-3)
            grey = np.full((SIZE, SIZE, 3), shade(number), np.uint8)
            assert file.encoded(SLOTS[0], frame) == make_jpeg(grey).tobytes()
            assert abs(int(pictures[SLOTS[0]][frame]) - shade(number)) <= 2


def test_a_picture_that_is_none_costs_its_episode(tmp_path):
    def send_rubbish(tape):
        for slot in SLOTS:
            data = np.arange(64, dtype=np.uint8)
            message = make(
                "sensor_msgs/msg/CompressedImage",
                header=make_header(BEGIN + 2.12),
                format="jpeg",
                data=data,
            )
            tape.add(f"camera/{slot}/compressed", 2.12, lambda _t, m=message: m)

    script = Script(
        compressed=True,
        extra=send_rubbish,
        lose=lambda topic, s: "camera" in topic and 2.15 < s < 2.25,
    )
    why = why_left_out(tmp_path, script)
    assert "the picture at 1.120 s" in why and "are no picture" in why


def test_of_a_bag_that_was_cut_off_what_was_whole_is_kept(tmp_path):
    """As a recorder leaves it that is killed; and where the marks say that there was more."""
    tasks = tuple((1.0 + 2 * n, 2.5 + 2 * n, f"task {n}") for n in range(4))
    bag = write_bag(tmp_path / "bag", episodes=tasks, end=10.0, size=lambda *_: 64)
    (file,) = bag.glob("*.mcap")
    whole = file.read_bytes()
    kept = []
    for share in (0.3, 0.6, 0.9):
        file.write_bytes(whole[: int(share * len(whole))])
        try:
            outcome = convert([bag], tmp_path / f"data{share}", make_cut(), Format.EPISODES)
        except Dm0Error as error:
            kept.append(0)
            assert "recording ended within it" in str(error) or "no episode" in str(error)
            continue
        kept.append(outcome.episodes)
        assert outcome.notes  # says what is missing
        assert [why for *_, why in outcome.left_out] in ([], ["the recording ended within it"])
    assert kept == sorted(kept) and kept[-1] > kept[0]
