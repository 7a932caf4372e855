# SPDX-License-Identifier: Apache-2.0
"""A bag as a programme for a live graph: messages, tasks, resets, the clock; and its pace."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from replay_bags import BEGIN, make, make_header, make_joint_state, make_positions, write
from replay_recordings import ROBOT, losing, make_plan, make_status, record
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)

from dm0_ros.control.state import State, Status
from dm0_ros.errors import Dm0Error
from dm0_ros.policy.marks import Mark
from dm0_ros.policy.protocol import Latency, Plan
from dm0_ros.policy.trace import Trace
from dm0_ros.replay.bag import BagWriter, read_messages
from dm0_ros.replay.comparison import Comparison, describe
from dm0_ros.replay.layout import find_layout
from dm0_ros.replay.pace import Pace
from dm0_ros.replay.playback import Kind, Part, Playback
from dm0_ros.replay.staging import stage
from dm0_ros.robots.spec import Space

STRING = "std_msgs/msg/String"
LASTS = 3.0  # s
SLOTS = ("right_hand", "left_hand")  # of the tiny checkpoint
WHOLE = Part()


def say(writer, topic, seconds, text):
    write(writer, topic, BEGIN + seconds, make(STRING, data=text))


def mark(writer, seconds, name, instruction, **end):
    begun = Mark(name, "execute_instruction", instruction, BEGIN + seconds)
    say(writer, "/episode", seconds, replace(begun, **end).dump())


def status(epoch):
    nan = float("nan")
    return Status(State.IDLE, "", False, epoch, 0, 0.0, nan, 0.0, (), 0, nan)


def write_bag(path, *more, joints="/joint_states"):
    """Joint states, and what is written by each of ``more``."""
    writer = BagWriter(path)
    for count in range(round(LASTS / 0.1) + 1):
        moment = BEGIN + count * 0.1
        write(writer, joints, moment, make_joint_state(moment, ["a"], [0.0]))
    for step in more:
        step(writer)
    writer.close()
    return path


def play(path, part=WHOLE):
    return Playback(find_layout(path), ROBOT, part)


def test_outputs_of_the_recorded_graph_stay_away_from_the_live_topics(tiny_checkpoint, tmp_path):
    live = record(tmp_path / "bag", tiny_checkpoint)
    playback = play(tmp_path / "bag")
    cameras = {f"camera/{slot}/image_raw" for slot in SLOTS}
    assert set(playback.topics.values()) == {"joint_states", *cameras}
    events = list(playback)
    plans = [event for event in events if event.kind is Kind.PLAN]
    assert len(plans) == len(live.plans)
    assert not any(e.topic == "action_chunk" for e in events if e.kind is Kind.MESSAGE)
    beside = play(tmp_path / "bag", Part(recorded=True))
    extra = set(beside.topics.values()) - set(playback.topics.values())
    assert {"recorded/action_chunk", f"recorded/{ROBOT.sinks[0].topic}"} <= extra
    assert all(topic.startswith("recorded/") for topic in extra)


def test_messages_come_as_they_are_in_order_and_after_their_time(tiny_checkpoint, tmp_path):
    record(tmp_path / "bag", tiny_checkpoint, seconds=0.5)
    events = list(play(tmp_path / "bag"))
    moments = [event.moment for event in events]
    assert moments == sorted(moments)
    names = ["/joint_states", *(f"/camera/{slot}/image_raw" for slot in SLOTS)]
    told = -np.inf
    for event in events:
        if event.kind is Kind.CLOCK:
            assert event.content > told
            told = event.content
        elif event.kind is Kind.MESSAGE:
            assert event.moment - 0.005 - 1e-6 <= told <= event.moment
    shown = [event for event in events if event.kind is Kind.MESSAGE]
    assert len(shown) == sum(1 for _ in read_messages(tmp_path / "bag", names))


def test_a_recorded_clock_is_the_clock(tmp_path):
    def tick(writer):
        for count in range(31):
            clock = make("rosgraph_msgs/msg/Clock", clock=make_header(5.0 + count * 0.05).stamp)
            write(writer, "/clock", BEGIN + count * 0.1, clock)

    playback = play(write_bag(tmp_path / "bag", tick), Part(begin=1.0, instruction="go"))
    times = [event.content for event in playback if event.kind is Kind.CLOCK]
    assert playback.first_time == times[0] == pytest.approx(5.5)
    assert times[-1] == pytest.approx(6.5) and len(times) == 21


def test_tasks_are_those_that_were_marked(tmp_path):
    def tell(writer):
        # an episode that ended before the recorder came, as those who join late are told
        mark(writer, 0.1, "early", "old", end=BEGIN, outcome="succeeded")
        mark(writer, 0.5, "one", "touch it")
        mark(writer, 1.0, "one", "touch it", end=BEGIN + 1.0, outcome="cancelled")
        mark(writer, 2.0, "two", "leave it")

    path = write_bag(tmp_path / "bag", tell)
    first, second = play(path).assignments
    assert (first.instruction, first.outcome) == ("touch it", "cancelled")
    assert (first.begin, first.end) == pytest.approx((BEGIN + 0.5, BEGIN + 1.0))
    assert (second.instruction, second.end) == ("leave it", pytest.approx(BEGIN + LASTS))
    events = [e for e in play(path) if e.kind in (Kind.BEGIN, Kind.END)]
    assert [e.kind for e in events] == [Kind.BEGIN, Kind.END] * 2
    assert [a.instruction for a in play(path, Part(begin=1.5)).assignments] == ["leave it"]
    (cut,) = play(path, Part(end=0.8)).assignments
    assert cut.end == pytest.approx(BEGIN + 0.8)
    (own,) = play(path, Part(begin=1.0, end=2.0, instruction="wave")).assignments
    assert (own.instruction, own.begin, own.end) == pytest.approx(("wave", BEGIN + 1, BEGIN + 2))


def test_without_marks_the_plans_tell_the_tasks(tiny_checkpoint, tmp_path):
    record(tmp_path / "bag", tiny_checkpoint, tasks=("touch it", "leave it"), traced=False)
    playback = play_traceless(tmp_path / "bag")
    first, second = playback.assignments
    assert (first.instruction, second.instruction) == ("touch it", "leave it")
    assert first.begin < first.end < second.begin < second.end


def play_traceless(path):
    return Playback(find_layout(path), ROBOT)


def test_an_executor_is_reset_where_the_recorded_one_was(tmp_path):
    def tell(writer):
        for seconds, epoch in ((0.0, 4), (0.5, 4), (1.0, 5), (1.5, 5), (2.0, 7)):
            moment = BEGIN + seconds
            write(writer, "/executor_status", moment, make_status(status(epoch), moment))

    playback = play(write_bag(tmp_path / "bag", tell), Part(instruction="go"))
    resets = [event.moment - BEGIN for event in playback if event.kind is Kind.RESET]
    assert resets == pytest.approx([1.0, 2.0])


def test_what_is_kept_for_late_comers_is_played_though_it_is_older(tmp_path):
    forever = QosTime(9223372036, 854775807)
    how = (QosHistory.UNKNOWN, 0, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL)
    kept = Qos(*how, forever, forever, QosLiveliness.AUTOMATIC, forever, False)

    def tell(writer):
        writer.add_topic("/robot_description", STRING, [kept])
        say(writer, "/robot_description", 0.0, "<robot/>")
        say(writer, "/remark", 0.0, "over and done")

    playback = play(write_bag(tmp_path / "bag", tell), Part(begin=1.0, instruction="go"))
    (event,) = playback.kept()
    assert event.topic == "robot_description" and b"<robot/>" in event.content


def test_a_namespace_is_left_behind_and_what_all_share_comes_along(tmp_path):
    def tell(writer):
        say(writer, "/left/remark", 1.0, "mine")
        say(writer, "/right/remark", 1.0, "not mine")
        say(writer, "/rosout", 1.0, "a log")
        say(writer, "/left/policy/transition_event", 1.0, "a transition")
        say(writer, "/left/execute_instruction/_action/status", 1.0, "hidden")
        write(writer, f"/left/{ROBOT.sinks[0].topic}", BEGIN + 1.0, make_positions([0.0] * 7))

    path = write_bag(tmp_path / "bag", tell, joints="/left/joint_states")
    playback = Playback(find_layout(path, "left"), ROBOT, Part(instruction="go"))
    assert set(playback.topics.values()) == {"joint_states", "remark", "right/remark"}
    commands = [e.topic for e in playback if e.kind is Kind.COMMAND]
    assert commands == [ROBOT.sinks[0].topic]


def refuse_no_task(tmp_path, checkpoint):
    play(write_bag(tmp_path / "bag"))


def refuse_late_part(tmp_path, checkpoint):
    play(write_bag(tmp_path / "bag"), Part(begin=60.0))


def refuse_part_without_tasks(tmp_path, checkpoint):
    path = write_bag(tmp_path / "bag", lambda writer: mark(writer, 0.5, "one", "touch it"))
    play(path, Part(begin=1.0))


def refuse_no_joints(tmp_path, checkpoint):
    record(tmp_path / "bag", checkpoint, seconds=0.2, lose=losing("joint_states"))
    play(tmp_path / "bag")


def refuse_no_pictures(tmp_path, checkpoint):
    record(tmp_path / "bag", checkpoint, seconds=0.2, lose=losing("camera/left_hand/image_raw"))
    stage(tmp_path / "bag")


def refuse_unknown_robot(tmp_path, checkpoint):
    record(tmp_path / "bag", checkpoint, seconds=0.2, traced=False)
    stage(tmp_path / "bag")


def refuse_base(tmp_path, checkpoint):
    record(tmp_path / "bag", checkpoint, seconds=0.2)
    stage(tmp_path / "bag", robot="mobile_base")


def refuse_seed(tmp_path, checkpoint):
    record(tmp_path / "bag", checkpoint, seconds=0.2)
    stage(tmp_path / "bag", seed="lucky")


@pytest.mark.parametrize(
    ("attempt", "sentence"),
    [
        (refuse_no_task, "does not say what was to be done .*: give an instruction"),
        (refuse_late_part, r"nothing to play from 60 s on; it lasts 3\.0 s"),
        (refuse_part_without_tasks, "no task begins in the part"),
        (refuse_no_joints, "no messages of /joint_states"),
        (refuse_no_pictures, "no pictures of camera slot left_hand"),
        (refuse_unknown_robot, "does not say which robot it was recorded with"),
        (refuse_base, "mobile_base is a base alone"),
        (refuse_seed, "seed is 'lucky'"),
    ],
)
def test_what_cannot_be_played_is_named(attempt, sentence, tiny_checkpoint, tmp_path):
    with pytest.raises(Dm0Error, match=sentence):
        attempt(tmp_path, tiny_checkpoint)


def test_the_stage_is_set_as_it_was_recorded_but_for_what_is_chosen(tiny_checkpoint, tmp_path):
    record(tmp_path / "bag", tiny_checkpoint, seconds=0.2)
    same = stage(tmp_path / "bag")
    assert (same.robot, same.simulated, same.compressed) == ("franka", False, False)
    assert same.policy["checkpoint"] == str(tiny_checkpoint) and same.policy["threads"] == 1
    other = stage(tmp_path / "bag", checkpoint="nano-franka", seed="5", instruction="not mine")
    assert (other.policy["checkpoint"], other.policy["seed"]) == ("nano-franka", 5)


class Clock:
    """A monotonic clock that goes when it is told."""

    def __init__(self):
        self.time = 100.0

    def __call__(self):
        return self.time


def test_moments_are_due_by_the_rate_and_lateness_is_told():
    clock = Clock()
    pace = Pace(BEGIN, 2.0, clock)
    assert pace.wait(BEGIN) and pace.latest == 0.0
    clock.time += 1.0
    assert pace.wait(BEGIN + 2.0) and pace.latest == pytest.approx(0.0, abs=1e-6)
    clock.time += 0.75
    assert pace.wait(BEGIN + 2.5) and pace.latest == pytest.approx(0.5, abs=1e-6)


def test_a_pause_stops_at_the_moment_and_a_step_goes_a_little_on():
    clock = Clock()
    pace = Pace(BEGIN, 1.0, clock)
    assert pace.wait(BEGIN) and not pace.step(1.0)
    pace.pause(True)
    clock.time += 60.0
    passed = []
    moments = (BEGIN + 0.05, BEGIN + 0.15, BEGIN + 0.25)
    stepped = threading.Event()

    def run():
        for moment in moments:
            passed.append(pace.wait(moment))
            stepped.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert pace.step(0.1)
    assert stepped.wait(10.0) and passed == [True]
    assert pace.step(0.1)
    pace.pause(False)  # a minute has passed meanwhile, and is not made up for
    clock.time += 0.3
    pace.end()
    thread.join(10.0)
    assert not thread.is_alive() and passed[0] and len(passed) == 3
    assert pace.latest < 1.0
    assert not pace.wait(BEGIN + 9.0)


def chunk(start, values, instruction="touch it", names=("a", "b"), sequence=1):
    values = np.asarray(values, float)
    plan = Plan(
        BEGIN + start, 0.1, Space.JOINT_POSITION, names, values, 0.5, Latency(1.0, 2.0, 3.0, 4.0)
    )
    return make_plan(plan, BEGIN + start + 0.05, sequence, instruction)


def trace(sequence, index, digest, text=None):
    return Trace(sequence, index, {}, {}, digest, None, text).dump()


RISING = np.arange(10)[:, None] * np.array([0.01, 0.02])


def test_plans_are_compared_with_those_of_the_nearest_observation():
    comparison = Comparison()
    comparison.recorded.add(chunk(0.0, RISING))
    comparison.recorded.add(chunk(1.0, RISING + 1.0))
    comparison.live.add(chunk(0.2, RISING + np.array([0.02, 0.04])))  # the same motion, later
    comparison.live.add(chunk(0.9, RISING + 1.0))  # a tenth of a second late
    comparison.live.add(chunk(2.0, RISING))  # nothing recorded is near
    comparison.live.add(chunk(0.0, RISING, "another task"))
    comparison.live.add(chunk(2.1, RISING[:1]))  # stay
    found = comparison.summarise()
    assert (found["plans"], found["recorded_plans"], found["plans_to_stay"]) == (4, 2, 1)
    assert found["repeated"] == {"count": 0, "median": None, "max": None}
    assert found["near"]["count"] == 2 and found["unpaired"] == 2
    assert found["near"]["max"] == pytest.approx(0.02, abs=1e-6)
    assert found["near"]["median"] == pytest.approx(0.01, abs=1e-6)


def test_plans_that_saw_the_same_and_had_the_same_noise_are_repeated():
    comparison = Comparison()
    for sequence, index, digest in ((7, 0, 11), (8, 1, 12), (9, 2, 13)):
        comparison.recorded.add(chunk(sequence / 10, RISING, sequence=sequence))
        comparison.recorded.add_trace(trace(sequence, index, digest))
    # the same, the same picture after another number of plans, and another picture
    for sequence, index, digest, shift in ((1, 0, 11, 1e-3), (2, 2, 12, 0.5), (3, 3, 99, 0.5)):
        comparison.live.add(chunk((sequence + 6) / 10, RISING + shift, sequence=sequence))
        comparison.live.add_trace(trace(sequence, index, digest))
    comparison.live.add(chunk(0.8, RISING, sequence=4))
    comparison.live.add_trace(trace(4, 1, 12, text=(1, 2)))  # another text
    found = comparison.summarise()
    assert found["repeated"]["count"] == 1
    assert found["repeated"]["max"] == pytest.approx(1e-3)
    assert found["near"]["count"] == 3 and found["near"]["max"] == pytest.approx(0.5)


def test_plans_of_other_columns_are_not_compared():
    comparison = Comparison()
    comparison.recorded.add(chunk(0.0, np.zeros((2, 2))))
    comparison.live.add(chunk(0.0, np.zeros((2, 2)), names=("a", "c")))
    with pytest.raises(Dm0Error, match="the columns a, b, the live ones a, c"):
        comparison.summarise()


def test_what_came_of_it_is_told_in_sentences():
    task = {
        "instruction": "touch it",
        "recorded_outcome": "cancelled",
        "outcome": "fault",
        "message": "the executor has stopped",
        "plans": 3,
    }
    figures = {
        **Comparison().summarise(),
        "tasks": [task, {**task, "outcome": "", "recorded_outcome": ""}],
        "executor": {"dropped": 2, "stopped": ["joint_states lacks a"]},
        "commands": {"arm/commands": {"live": 10, "recorded": 12}},
        "seconds": 3.0,
        "latest": 0.004,
    }
    told = list(describe(figures))
    assert told == [
        "'touch it' (recorded: cancelled): 3 plans; fault, the executor has stopped",
        "'touch it': 3 plans; not over",
        "the executor stopped: joint_states lacks a",
        "plans refused: 2; commands (recorded): arm/commands 10 (12)",
        "0 plans live, 0 recorded; 3.0 s were played, 4 ms late at most",
    ]
