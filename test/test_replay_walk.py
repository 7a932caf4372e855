# SPDX-License-Identifier: Apache-2.0
"""A bag through a policy: what was seen and planned live, or a name for what is missing."""

import math
from dataclasses import replace

import numpy as np
import pytest
from replay_bags import BEGIN, make_chunk, write
from replay_recordings import PERIOD, ROBOT, losing, record

from dm0_ros.errors import Dm0Error
from dm0_ros.policy.normalisation import compute_stats, save_stats
from dm0_ros.policy.reasoning import ReasoningMode, ReasoningOptions
from dm0_ros.policy.wire import read_plan
from dm0_ros.replay.bag import BagWriter, read_messages, read_raw
from dm0_ros.replay.lateness import Lateness
from dm0_ros.replay.layout import find_layout
from dm0_ros.replay.rehearsal import Rehearsal
from dm0_ros.replay.run import Wishes, prepare, replay
from dm0_ros.replay.sensors import Seeker
from dm0_ros.replay.walk import Options, Walk


def walk(bag, **options):
    subject = prepare(bag, Wishes())
    return list(Walk(subject.layout, subject.policy, subject.robot, Options(**options)))


def test_it_sees_and_plans_what_was_seen_and_planned_live(tiny_checkpoint, tmp_path):
    live = record(tmp_path / "bag", tiny_checkpoint)
    steps = walk(tmp_path / "bag")
    assert len(steps) == len(live.plans) > 8
    for step, seen, planned in zip(steps, live.observations, live.plans, strict=True):
        assert step.identical and step.difference == 0.0
        assert step.observation.pictures.keys() == seen.pictures.keys()
        for slot, picture in seen.pictures.items():
            np.testing.assert_array_equal(step.observation.pictures[slot], picture)
        np.testing.assert_array_equal(step.observation.state, seen.state)
        assert step.observation.stamps == seen.stamps
        assert step.observation.joint_stamps == seen.joint_stamps
        np.testing.assert_array_equal(step.plan.values, planned.values)


def test_another_seed_is_another_plan(tiny_checkpoint, tmp_path):
    record(tmp_path / "bag", tiny_checkpoint, seconds=0.5)
    wishes = Wishes(seed=1)
    figures = replay(prepare(tmp_path / "bag", wishes), wishes)
    assert figures["max_abs_difference"] > 1e-3
    assert figures["identical_observations"] == figures["plans"]
    assert any("another seed: 0 was recorded, now it is 1" in s for s in figures["differences"])


def test_what_the_bag_says_is_missing_is_among_the_differences(tiny_checkpoint, tmp_path):
    record(tmp_path / "bag", tiny_checkpoint, seconds=0.5)
    file = tmp_path / "bag" / "bag.mcap"
    file.write_bytes(file.read_bytes()[: int(0.9 * file.stat().st_size)])
    figures = replay(prepare(tmp_path / "bag", Wishes()), Wishes())
    assert any(
        s.startswith("the bag lacks something: ") and "bag.mcap was not closed" in s
        for s in figures["differences"]
    )


def test_a_checkpoint_that_cannot_reason_replays_one_that_did(tiny_checkpoint, tmp_path):
    record(tmp_path / "bag", tiny_checkpoint, seconds=0.5, reasoning="asynchronous")
    figures = replay(prepare(tmp_path / "bag", Wishes()), Wishes())
    assert figures["plans"] and figures["max_abs_difference"] == 0.0
    assert any("reasoned (asynchronous)" in s and "cannot" in s for s in figures["differences"])


@pytest.mark.parametrize("seconds", [1e-9, math.inf])
def test_texts_that_are_not_what_they_were_are_named(learnt_checkpoint, tmp_path, seconds):
    thinking = ReasoningOptions(ReasoningMode.EVERY_PLAN, seconds=seconds)
    tasks = ("touch the red block",)
    record(tmp_path / "bag", learnt_checkpoint, tasks, reasoning="every_plan", thinking=thinking)
    figures = replay(prepare(tmp_path / "bag", Wishes()), Wishes())
    count = figures["plans"]
    found = [one for one in figures["differences"] if "texts" in one]
    sentence = (
        f"{count} of {count} texts are not those of the live policy; the first: plan 1, live none "
        "was seen, now one of "
    )
    assert [one[: len(sentence)] for one in found] == [sentence] * (seconds < 1)
    assert (figures["max_abs_difference"] > 1e-4) == (seconds < 1)


def test_a_picture_that_is_not_in_the_bag_costs_only_the_plans_that_saw_it(
    tiny_checkpoint, tmp_path
):
    lose = losing("camera/right_hand/image_raw", begin=0.8, end=1.0)
    record(tmp_path / "bag", tiny_checkpoint, lose=lose)
    steps = walk(tmp_path / "bag")
    missing = [step for step in steps if step.plan is None]
    assert 0 < len(missing) < 3
    assert all("not in the bag: the picture of right_hand at 17" in s.fault for s in missing)
    assert all(step.difference == 0.0 for step in steps if step.plan is not None)


def test_plans_that_are_not_in_the_bag_count(tiny_checkpoint, tmp_path):
    topics = "action_chunk", "policy_trace"
    # the first two plans of the second task
    record(tmp_path / "bag", tiny_checkpoint, lose=losing(*topics, begin=2.15, end=2.5))
    steps = walk(tmp_path / "bag")
    assert [step.recorded.trace.index for step in steps] == [0, 1, 2, 3, 4, 2, 3, 4]
    assert all(step.difference == 0.0 for step in steps)


def test_a_task_that_began_before_the_part_is_left_out(tiny_checkpoint, tmp_path):
    live = record(tmp_path / "bag", tiny_checkpoint)
    begin = find_layout(tmp_path / "bag").contents.begin
    steps = walk(tmp_path / "bag", begin=begin + 0.8)
    assert [bool(step.fault) for step in steps] == [True] * (len(steps) - 5) + [False] * 5
    assert len(steps) < len(live.plans) and "began before the part" in steps[0].fault
    assert all(step.difference == 0.0 for step in steps[-5:])
    ended = walk(tmp_path / "bag", end=begin + 1.5)
    assert 0 < len(ended) <= 5 and all(step.difference == 0.0 for step in ended)


def test_without_traces_the_newest_messages_have_to_do(tiny_checkpoint, tmp_path):
    live = record(tmp_path / "bag", tiny_checkpoint, traced=False)
    with pytest.raises(Dm0Error, match=r"does not say which robot .* --robot"):
        prepare(tmp_path / "bag", Wishes())
    wishes = Wishes(robot="franka", checkpoint=str(tiny_checkpoint))
    subject = prepare(tmp_path / "bag", wishes)
    steps = list(Walk(subject.layout, subject.policy, subject.robot))
    assert len(steps) == len(live.plans)
    assert all(step.plan is not None and step.identical is None for step in steps)
    # The recorder had pictures a little later than the policy, and more of the joint states.
    near = [np.abs(s.plan.values - p.values).max() for s, p in zip(steps, live.plans, strict=True)]
    assert np.median(near) < 0.05


def test_own_times_need_no_plans(tiny_checkpoint, tmp_path):
    record(tmp_path / "bag", tiny_checkpoint, lose=losing("action_chunk", "policy_trace"))
    with pytest.raises(Dm0Error, match="no messages of /action_chunk; it has /"):
        walk(tmp_path / "bag")
    steps = walk(tmp_path / "bag", period=0.4, instruction="touch the blue block")
    assert len(steps) == 8
    assert np.diff([step.moment for step in steps]) == pytest.approx(0.4, abs=0.011)
    assert all(step.recorded is None and step.plan is not None for step in steps)


def test_own_times_follow_the_recorded_instructions(tiny_checkpoint, tmp_path):
    record(tmp_path / "bag", tiny_checkpoint)
    steps = walk(tmp_path / "bag", period=PERIOD)
    told = [step.observation.instruction for step in steps]
    assert told == sorted(told, reverse=True) and set(told) == {"touch the red block", "touch it"}
    assert 8 <= len(steps) <= 14


def test_only_pictures_that_a_plan_needs_are_decoded_and_once(tiny_checkpoint, tmp_path):
    record(tmp_path / "bag", tiny_checkpoint)
    subject = prepare(tmp_path / "bag", Wishes())
    run = Walk(subject.layout, subject.policy, subject.robot)
    decoded = []

    def count(slot, decode):
        return slot, lambda message: decoded.append(message.header.stamp) or decode(message)

    run._cameras = {topic: count(*pair) for topic, pair in run._cameras.items()}
    wanted = set()
    for step in run:
        wanted |= set(step.observation.stamps.items())
    assert len(decoded) == len(wanted)
    assert not run._seeker._pictures and not run._seeker._joints and not len(run._seeker)


def test_joint_states_in_parts_are_found(tiny_checkpoint, tmp_path):
    record(tmp_path / "bag", tiny_checkpoint, seconds=0.5)
    subject = prepare(tmp_path / "bag", Wishes())
    (step, *_) = Walk(subject.layout, subject.policy, subject.robot)
    seeker = Seeker(subject.policy.spec, ROBOT)
    seeker.seek(step.recorded)
    for slot, stamp in step.recorded.trace.stamps.items():
        seeker.add_picture(slot, stamp, lambda slot=slot: step.observation.pictures[slot])
    for name, stamp in step.recorded.trace.joint_stamps.items():
        assert not list(seeker.find(step.recorded.received, step.moment))
        seeker.add_joints(stamp, [name], [0.01])
    (found,) = seeker.find(step.recorded.received, step.moment)
    assert not found.fault and found.observation.state[:-1] == pytest.approx(0.01)


@pytest.mark.parametrize("text", ["never", "-1", "nan", "1 h", ""])
def test_latencies_that_make_no_sense(text):
    with pytest.raises(Dm0Error, match="give 'measured', 0, or a time such as 300ms"):
        Lateness.parse(text)


def test_latencies_have_units():
    words = ("measured", "0", "300ms", "0.3s", "0.3")
    assert [Lateness.parse(word).seconds for word in words] == [None, 0.0, 0.3, 0.3, 0.3]


def rehearse(bag, latency):
    wishes = Wishes(lateness=Lateness.parse(latency))
    return replay(prepare(bag, wishes), wishes)["executor"]


def calm(checkpoint):
    """Plans near the arm: far ones are designed at one pace or another for a tick's difference."""
    rows = np.random.default_rng(0).normal(scale=0.01, size=(100, len(ROBOT.column_names)))
    save_stats(compute_stats(rows, rows, width=12), checkpoint)
    return checkpoint


def test_the_executor_would_command_what_it_did(tiny_checkpoint, tmp_path):
    live = record(tmp_path / "bag", calm(tiny_checkpoint))
    measured = rehearse(tmp_path / "bag", "measured")
    assert measured["plans_followed"] == live.followed > 8
    assert sum(measured["refused"].values()) == live.refused
    (arm, gripper) = measured["commands"].values()
    assert arm["count"] > 200 and len(arm["max"]) == 7 and len(gripper["max"]) == 1
    # A plan counts from a tick more or less; the motions are of hundredths of a radian.
    assert max(arm["rms"].values()) < 0.003
    late = rehearse(tmp_path / "bag", "300ms")["commands"]
    assert max(late["forward_position_controller/commands"]["rms"].values()) > 0.006


def test_plans_that_were_refused_are_refused_again(tiny_checkpoint, tmp_path):
    live = record(tmp_path / "bag", tiny_checkpoint)
    measured = rehearse(tmp_path / "bag", "measured")
    assert measured["plans_followed"] == live.followed
    assert sum(measured["refused"].values()) == live.refused > 2
    assert all("the limit (max_first_distance) is" in why for why in measured["refused"])


def test_later_plans_are_followed_later(tiny_checkpoint, tmp_path):
    record(tmp_path / "bag", tiny_checkpoint)
    off = {
        latency: max(rehearse(tmp_path / "bag", latency)["commands"][topic]["rms"].values())
        for latency in ("measured", "50ms", "400ms")
        for topic in ["forward_position_controller/commands"]
    }
    assert off["400ms"] > 2 * off["50ms"] and off["400ms"] > 2 * off["measured"]


def test_rehearsed_commands_can_be_watched_and_keep_the_limits(tiny_checkpoint, tmp_path):
    record(tmp_path / "bag", tiny_checkpoint)
    subject, points = prepare(tmp_path / "bag", Wishes()), []
    rehearsal = Rehearsal(subject.robot, Lateness(0.1), points.append)
    for step in Walk(subject.layout, subject.policy, subject.robot, None, rehearsal):
        rehearsal.show(step)
    rehearsal.finish()
    assert len(points) == rehearsal.ticks > 100
    assert np.diff([point.time for point in points]).min() > 0
    speeds = np.abs([point.velocities[:7] for point in points]).max(axis=0)
    assert (speeds <= [joint.velocity + 1e-9 for joint in subject.robot.joints]).all()


def test_another_chunk_is_refused_by_its_columns(tiny_checkpoint, tmp_path):
    record(tmp_path / "bag", tiny_checkpoint, seconds=0.5)
    settings = tiny_checkpoint / "policy.yaml"
    settings.write_text(settings.read_text().replace("step: 0.1", "step: 0.2"))
    with pytest.raises(Dm0Error, match=r"6 rows of 0.1 s, those of the replay 6 of 0.2 s"):
        replay(prepare(tmp_path / "bag", Wishes()), Wishes())


def test_another_checkpoint_is_named(tiny_checkpoint, tmp_path):
    record(tmp_path / "bag", tiny_checkpoint, seconds=0.5)
    settings = tiny_checkpoint / "policy.yaml"
    settings.write_text(settings.read_text() + "executed_rows: 3\n")
    (sentence, *_) = prepare(tmp_path / "bag", Wishes()).differences
    assert sentence.startswith("another checkpoint: ")


def test_clocks_that_jump_and_sensors_that_pause_are_reported(tiny_checkpoint, tmp_path):
    tasks = ("touch it",)
    gap = losing("camera/left_hand/image_raw", begin=1.0, end=2.4)
    record(tmp_path / "gap", tiny_checkpoint, tasks, 2.4, lose=gap)
    figures = replay(prepare(tmp_path / "gap", Wishes()), Wishes())
    (oddity,) = figures["oddities"]["first"]
    assert (
        oddity["topic"] == "/camera/left_hand/image_raw" and "no message for 1." in oddity["what"]
    )
    assert figures["not_replayed"]

    bag = tmp_path / "bag"
    shifted = BagWriter(tmp_path / "shifted")
    record(bag, tiny_checkpoint, tasks)
    topics = find_layout(bag).contents.topics
    for name, kind in topics.items():
        shifted.add_topic(name, kind)
    middle = find_layout(bag).contents.begin + 1.0
    for message in read_raw(bag):
        late = 100.0 if message.time > middle else 0.0
        shifted.write(message.topic, round((message.time + late) * 1e9), message.data)
    shifted.close()
    figures = replay(prepare(tmp_path / "shifted", Wishes()), Wishes())
    odd = {(one["topic"], one["what"]) for one in figures["oddities"]["first"]}
    assert (
        "/joint_states",
        "the clock of its stamps jumped by -100.000 s against reception",
    ) in odd
    assert figures["max_abs_difference"] == 0.0


def rewrite(bag, target, change):
    """A copy in which ``change(topic, type, data)`` may change the types of topics."""
    writer = BagWriter(target)
    for name, kind in find_layout(bag).contents.topics.items():
        writer.add_topic(name, change.get(name, kind))
    for message in read_raw(bag):
        writer.write(message.topic, round(message.time * 1e9), message.data)
    writer.close()


@pytest.mark.parametrize(
    ("topic", "words"),
    [
        ("joint_states", "no messages of /joint_states; it has "),
        ("camera/left_hand/image_raw", "no pictures of camera slot left_hand, which"),
    ],
)
def test_missing_topics_are_named(tiny_checkpoint, tmp_path, topic, words):
    record(tmp_path / "bag", tiny_checkpoint, seconds=0.5, lose=losing(topic))
    with pytest.raises(Dm0Error, match=words):
        walk(tmp_path / "bag")


def test_topics_of_another_type_are_named(tiny_checkpoint, tmp_path):
    record(tmp_path / "bag", tiny_checkpoint, seconds=0.5)
    for topic, kind in (
        ("/joint_states", "sensor_msgs/msg/Image"),
        ("/camera/left_hand/image_raw", "sensor_msgs/msg/JointState"),
    ):
        rewrite(tmp_path / "bag", tmp_path / topic.replace("/", "_"), {topic: kind})
        with pytest.raises(Dm0Error, match=f"{topic} is of type {kind}; expected sensor_msgs"):
            walk(tmp_path / topic.replace("/", "_"))


def test_two_graphs_in_one_bag_need_a_choice(tiny_checkpoint, tmp_path):
    writer = BagWriter(tmp_path / "bag")
    for name in ("/one/action_chunk", "/two/action_chunk"):
        writer.add_topic(name, "dm0_ros/msg/ActionChunk")
    write(writer, "/one/action_chunk", BEGIN, make_chunk(BEGIN, (1, 2, 3, 4)))
    writer.close()
    with pytest.raises(Dm0Error, match=r"several graphs .* choose one with --namespace"):
        find_layout(tmp_path / "bag")
    assert find_layout(tmp_path / "bag", "two").name("x") == "/two/x"


def test_plans_come_back_as_they_were(tiny_checkpoint, tmp_path):
    live = record(tmp_path / "bag", tiny_checkpoint, seconds=0.5)
    found = [read_plan(m.content) for m in read_messages(tmp_path / "bag", ["/action_chunk"])]
    for read, planned in zip(found, live.plans, strict=True):
        assert replace(read, values=None) == replace(planned, values=None, progress=read.progress)
        np.testing.assert_array_equal(read.values, planned.values)
