# SPDX-License-Identifier: Apache-2.0
"""What figures are made of: actions by time, switches of grippers, overlaps, motion, scaffolds."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_bags import BEGIN, make, make_header, make_joint_state, write

from dm0_ros.control import SetPoint
from dm0_ros.evaluation.actions import Track
from dm0_ros.evaluation.episodes import Episode, Episodes
from dm0_ros.evaluation.grippers import CLOSES, OPENS, find_switches, match_switches
from dm0_ros.evaluation.scaffolds import LIVE, NOT_KNOWN, TRUTH, Scaffolds
from dm0_ros.evaluation.seams import Motion, Overlap
from dm0_ros.policy.marks import Mark
from dm0_ros.policy.protocol import Latency, Observation, Plan
from dm0_ros.policy.reasoning import Thought
from dm0_ros.replay.bag import BagWriter
from dm0_ros.replay.layout import find_layout
from dm0_ros.replay.walk import Step
from dm0_ros.robots.loading import load_robot
from dm0_ros.robots.spec import Gripper, Space
from dm0_ros.scaffold.content import Scaffold

NAN = float("nan")
HAND = Gripper("hand", closed=0.0, open=0.1, velocity=1.0, opening_per_joint=1.0)


@given(
    gaps=st.lists(st.floats(0.001, 0.4), min_size=2, max_size=30),
    asked=st.lists(st.floats(-0.5, 8.0), min_size=1, max_size=20),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_between_commands_that_stream_actions_are_linear_and_hold_behind_them(gaps, asked, seed):
    times, asked = np.cumsum(gaps), np.sort(asked)
    values = np.random.default_rng(seed).normal(size=(len(times), 2))
    track = Track(("a", "b"))
    for time, row in zip(times, values, strict=True):
        track.add(float(time), row)
    found = track.sample(asked)
    for column in range(2):
        expected = np.interp(asked, times, values[:, column], left=NAN)
        np.testing.assert_allclose(found[:, column], expected, atol=1e-9)


def test_a_command_holds_where_nobody_streams():
    track = Track(("a",))
    for time, value in ((0.0, 1.0), (10.0, 2.0), (10.1, 3.0)):
        track.add(time, np.array([value]))
    found = track.sample(np.array([-1.0, 0.0, 9.9, 10.0, 10.05, 99.0]))
    np.testing.assert_allclose(found[:, 0], [NAN, 1.0, 1.0, 2.0, 2.5, 3.0])


def test_old_commands_are_forgotten_and_a_clock_that_goes_back_begins_anew():
    track = Track(("a",))
    for time in range(10_000):
        track.add(float(time), np.array([float(time)]))
    assert len(track.times) < 400
    assert track.sample(np.array([9950.0]))[0, 0] == 9950.0
    track.add(5.0, np.array([7.0]))
    np.testing.assert_array_equal(track.sample(np.array([4.0, 6.0]))[:, 0], [NAN, 7.0])


def test_a_gripper_switches_where_it_leaves_its_half_and_not_where_it_trembles():
    times = np.arange(9.0)
    openings = np.array([0.1, 0.1, 0.05, 0.045, 0.055, 0.0, 0.0, 0.1, 0.1])
    found = find_switches(HAND, times, openings)
    assert [way for _, way in found] == [CLOSES, OPENS]
    # leaves the upper half at 0.04, the lower one at 0.06
    assert [time for time, _ in found] == pytest.approx([4 + 15 / 55, 6.6])
    assert find_switches(HAND, times, np.full(9, 0.08)) == []
    assert find_switches(HAND, times, np.full(9, NAN)) == []


@given(delay=st.floats(-0.9, 0.9))
def test_switches_are_late_by_what_they_are_late(delay):
    (pair,) = match_switches(0, [(5.0, CLOSES)], [(5.0 + delay, CLOSES)], 0.0, 10.0)
    assert pair.planned - pair.recorded == pytest.approx(delay)


def test_switches_without_a_partner_are_missed_or_spurious_but_not_at_the_ends():
    recorded = [(0.5, OPENS), (3.0, CLOSES), (6.0, OPENS)]
    planned = [(3.4, CLOSES), (3.1, CLOSES), (9.8, CLOSES)]
    found = list(match_switches(2, recorded, planned, 0.0, 10.0))
    pair, missed, spurious = found
    assert pair == (2, CLOSES, 3.0, 3.1)
    assert missed[:3] == (2, OPENS, 6.0) and math.isnan(missed.planned)
    assert spurious[:2] == (2, CLOSES) and spurious.planned == 3.4
    assert math.isnan(spurious.recorded)


def make_plan(start, values, thought=None):
    values = np.asarray(values, float)
    names = tuple("ab"[: values.shape[1]])
    latency = Latency(1.0, 2.0, 0.0, 3.0)
    return Plan(start, 0.1, Space.JOINT_POSITION, names, values, NAN, latency, thought)


def test_plans_are_compared_where_they_overlap_and_within_an_episode():
    overlap = Overlap(np.subtract)
    rows = np.stack([np.arange(6.0), np.zeros(6)], axis=1)
    assert np.isnan(overlap.compare(0, make_plan(0.0, rows))).all()
    # two and a half rows later, and a column that is 0.3 off
    later = np.stack([np.arange(6.0) + 2.5, np.full(6, 0.3)], axis=1)
    np.testing.assert_allclose(overlap.compare(0, make_plan(0.25, later)), [0.0, 0.3], atol=1e-9)
    assert np.isnan(overlap.compare(0, make_plan(9.0, rows))).all(), "they do not overlap"
    assert np.isnan(overlap.compare(1, make_plan(9.1, rows))).all(), "another episode"


def test_motion_is_that_of_the_commands():
    robot, rate = load_robot("franka"), 100.0
    episodes = Episodes([])
    episodes.found.append(Episode("e", "plans", "go", 1.0, 3.0))
    motion = Motion(robot, episodes)
    times = np.arange(0.0, 4.0, 1 / rate)
    count = len(robot.column_names)
    for time in times:
        wave = np.full(count, 2 * math.pi * time)
        motion.see(SetPoint(time, np.sin(wave), np.cos(wave), -np.sin(wave)))
    told = motion.describe(0)
    assert motion.describe(1) is None
    inside = times[(times >= 1.0) & (times <= 3.0)]
    rms = {name: math.sqrt(part["squares"][3] / part["ticks"][3]) for name, part in told.items()}
    assert told["velocity"]["ticks"] == [len(inside)] * 7
    assert rms["velocity"] == pytest.approx(math.sqrt(0.5), rel=0.01)
    assert rms["acceleration"] == pytest.approx(math.sqrt(0.5), rel=0.01)
    assert rms["jerk"] == pytest.approx(2 * math.pi * math.sqrt(0.5), rel=0.01)
    assert told["jerk"]["greatest"][0] == pytest.approx(2 * math.pi, rel=0.01)


def step_at(moment, instruction="go"):
    observation = Observation({}, np.zeros(1), instruction, moment)
    return Step(observation, None, None, moment, None)


def test_steps_of_an_own_schedule_belong_to_marks_and_else_to_what_runs():
    marks = [
        Mark("one", "teleoperation", "pick", 10.0, 12.0, "succeeded"),
        Mark("two", "teleoperation", "place", 20.0),
        Mark("three", "teleoperation", "pick", 30.0, 31.0),
    ]
    episodes = Episodes(marks, period=0.5)
    places = [episodes.place(step_at(m)) for m in (1.0, 1.5, 10.0, 11.9, 21.0, 30.5, 40.0, 50.0)]
    assert places == [0, 0, 1, 1, 2, 3, 4, 5]
    assert [e.name for e in episodes.found[1:4]] == ["one", "two", "three"]
    assert [e.end for e in episodes.found[1:4]] == [12.0, 30.0, 31.0]
    assert episodes.found[0].end == 2.0, "it ran until its next step did not come"
    assert episodes.end(5, 50.9) == math.inf and episodes.end(5, 60.0) == 50.5
    assert episodes.at(11.0) == 1 and episodes.at(15.0) is None and episodes.at(25.0) == 2


def make_scaffold(seconds, box, path, valid=True):
    return make(
        "dm0_ros/msg/SpatialScaffold",
        header=make_header(seconds),
        view="high",
        width=200,
        height=100,
        subtask="go on",
        box=np.array(box, np.float32),
        trajectory=np.array(path, np.float32),
        action_tokens=np.empty(0, np.uint16),
        text="",
        valid=valid,
        error="",
    )


def think(stamp, scaffold):
    rejection = "" if scaffold else "it is garbage"
    return Thought("", (), scaffold, rejection, "go", stamp, stamp, "high", 400, 200, 1.0)


def test_scaffolds_are_compared_with_recorded_ones_of_the_same_picture(tmp_path):
    writer = BagWriter(tmp_path / "bag")
    write(writer, "/joint_states", BEGIN, make_joint_state(BEGIN, ["a"], [0.0]))
    message = make_scaffold(BEGIN + 1, [20, 10, 60, 50], [0, 0, 100, 50])
    write(writer, "/scaffold", BEGIN + 1, message)
    none = make_scaffold(BEGIN + 2, [NAN] * 4, [])
    write(writer, "/scaffold", BEGIN + 2, none)
    writer.close()
    scaffolds = Scaffolds(find_layout(tmp_path / "bag"), None)
    assert scaffolds.source == TRUTH
    # places are thousandths of the picture: a box half as high; a path 20 pixels below
    told = Scaffold("go on", (100, 100, 300, 300), {"main": ((0, 200), (500, 700))})
    valid, iou, far = scaffolds.compare(make_plan(0, [[0.0]], think(BEGIN + 1.02, told)))
    assert (valid, iou) == (1.0, pytest.approx(0.5))
    assert far == pytest.approx(20 / 200)
    refused = scaffolds.compare(make_plan(0, [[0.0]], think(BEGIN + 1, None)))
    assert refused[:2] == (0.0, 0.0) and math.isnan(refused.path_error)
    nothing_due = scaffolds.compare(make_plan(0, [[0.0]], think(BEGIN + 2, Scaffold("go"))))
    assert nothing_due.valid == 1.0 and math.isnan(nothing_due.box_iou)
    elsewhere = scaffolds.compare(make_plan(0, [[0.0]], think(BEGIN + 1.5, told)))
    assert elsewhere.valid == 1.0 and math.isnan(elsewhere.box_iou)
    assert np.isnan(scaffolds.compare(make_plan(0, [[0.0]]))).all()


def test_whose_scaffolds_they_are(tmp_path):
    for name, messages in (("full", 1), ("empty", 0)):
        writer = BagWriter(tmp_path / name)
        write(writer, "/joint_states", BEGIN, make_joint_state(BEGIN, ["a"], [0.0]))
        for _ in range(messages):
            write(writer, "/scaffold", BEGIN, make_scaffold(BEGIN, [0, 0, 1, 1], []))
        writer.close()
    full, empty = (find_layout(tmp_path / name) for name in ("full", "empty"))
    assert Scaffolds(empty, None).source == NOT_KNOWN
    assert Scaffolds(full, SimpleNamespace(reasoning="off")).source == TRUTH
    assert Scaffolds(full, SimpleNamespace(reasoning="every_plan")).source == LIVE
