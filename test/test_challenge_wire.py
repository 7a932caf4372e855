# SPDX-License-Identifier: Apache-2.0
"""States and actions on the wire: units, quaternions, limits, and how long rows last."""

from dataclasses import replace

import numpy as np
import pytest
from challenge_samples import POSE, TASKS, Wave
from checkpoint_samples import write_runnable

from dm0_ros.challenge.errors import ChallengeError, PayloadError
from dm0_ros.challenge.mock_robot import MockRobot, Refusal
from dm0_ros.challenge.table import find_task, load_station, load_tasks
from dm0_ros.challenge.wire import cut_plan, make_wire
from dm0_ros.policy.catalogue import find_entry
from dm0_ros.policy.dm0_policy import Dm0Policy
from dm0_ros.policy.normalisation import compute_stats, save_stats
from dm0_ros.policy.protocol import Observation
from dm0_ros.robots.layouts import Space


def wire_of(robot, space=Space.EEF_POSE, task=""):
    found = find_task(task or TASKS[robot])
    spec, station = load_station(found)
    layout = next(item for item in spec.layouts.values() if item.space is space)
    return make_wire(spec, station, found, layout.columns, space)


@pytest.mark.parametrize(
    ("robot", "space", "action_type", "width"),
    [
        ("arx5", Space.JOINT_POSITION, "leftjoint", 7),
        ("arx5", Space.EEF_POSE, "leftpos", 7),
        ("aloha", Space.JOINT_POSITION, "joint", 14),
        ("franka", Space.JOINT_POSITION, "leftjoint", 8),
        ("franka", Space.EEF_POSE, "leftpos", 8),
        ("ur5", Space.JOINT_POSITION, "leftjoint", 7),
        ("ur5", Space.EEF_POSE, "leftpos", 8),
    ],
)
def test_widths_are_the_platforms(robot, space, action_type, width):
    wire = wire_of(robot, space)
    assert (wire.action_type, wire.width) == (action_type, width)
    row = wire.write_rows(np.zeros((1, len(wire.layout.columns))))[0]
    assert len(row) == width
    with pytest.raises(PayloadError, match=f"{action_type} has {width} finite"):
        wire.read_state([0.0] * (width + 1))
    with pytest.raises(PayloadError, match="finite numbers"):
        wire.read_state([float("nan")] * width)
    with pytest.raises(PayloadError, match="row of numbers"):
        wire.read_state(["a"] * width)


@pytest.mark.parametrize("robot", ["franka", "ur5"])
def test_poses_have_quaternions_there_and_angles_here(robot):
    """The pair of angles and quaternion was computed with SciPy (extrinsic xyz)."""
    wire = wire_of(robot)
    angles, quaternion = [0.3, -0.2, 1.1], [0.178359, -0.006436, 0.526955, 0.830942]
    sent = [0.1, 0.2, 0.3, *quaternion, 3.0]
    state = wire.read_state(sent)
    assert state[:6] == pytest.approx([0.1, 0.2, 0.3, *angles], abs=1e-5)
    state[6] = 0.01
    assert wire.write_rows(state[None])[0][:7] == pytest.approx(sent[:7], abs=1e-6)
    for scale, error in ((1.01, None), (0.5, "length 0.5 instead of 1")):
        scaled = [*sent[:3], *np.multiply(quaternion, scale), 3.0]
        if error is None:
            assert wire.read_state(scaled)[3:6] == pytest.approx(angles, abs=1e-5)
            continue
        with pytest.raises(PayloadError, match=error):
            wire.read_state(scaled)


@pytest.mark.parametrize("space", [Space.EEF_POSE, Space.JOINT_POSITION])
def test_the_ur5s_gripper_is_its_register(space):
    wire = wire_of("ur5", space)
    sent = [0.0] * 3 + ([0.0, 0.0, 0.0, 1.0] if space is Space.EEF_POSE else [0.0] * 3)
    for register, metres in ((3, 0.085), (228, 0.0), (115.5, 0.0425)):
        state = wire.read_state([*sent, register])
        assert state[-1] == pytest.approx(metres)
        assert wire.write_rows(state[None])[0][-1] == pytest.approx(register)
    # narrower than closed, wider than open
    state[-1] = 0.2
    assert wire.write_rows(state[None])[0][-1] == 3.0
    state[-1] = -0.2
    assert wire.write_rows(state[None])[0][-1] == 228.0


def test_frankas_gripper_may_open_as_far_as_the_platforms():
    wire = wire_of("franka")
    row = wire.write_rows(np.array([[0.4, 0, 0.3, 0, 0, 0, 0.084]]))[0]
    assert row[-1] == pytest.approx(0.084)


def test_angles_that_turn_on_become_continuous_quaternions():
    wire = wire_of("ur5")
    rows = np.zeros((40, 7))
    rows[:, 3] = np.linspace(3.0, 3.4, 40)
    turns = np.array(wire.write_rows(rows))[:, 3:7]
    assert (np.sum(turns[1:] * turns[:-1], axis=1) > 0.99).all()


def test_twice_as_many_rows_take_the_path_at_half_speed():
    """Places of four rows resampled to eight, from the reference; rows last what they did."""
    task = find_task("open_the_drawer")
    entry = find_entry(task.specialist)
    spec, _ = load_station(task)
    policy = Wave(spec, Space.EEF_POSE)
    policy.spec = replace(policy.spec, executed_rows=4)
    step = 0.1 * 7 / 3
    rows, duration = cut_plan(np.arange(50.0)[:, None], step, policy.spec, task.half_speed)
    expected = [0, 0.4286, 0.8571, 1.2857, 1.7143, 2.1429, 2.5714, 3]
    assert rows[:, 0] == pytest.approx(expected, abs=1e-4)
    assert duration == pytest.approx(0.1)
    plan = np.zeros((50, 7))
    spec = replace(policy.spec, executed_rows=entry.settings.executed_rows)
    rows, duration = cut_plan(plan, entry.settings.step, spec, task.half_speed)
    assert (len(rows), duration) == (50, pytest.approx(0.1))
    halved = {name for name, item in load_tasks().items() if item.half_speed}
    assert halved == {"arrange_flowers", "open_the_drawer", "wipe_the_table"}


def test_other_plans_are_cut_to_what_is_executed():
    spec = Wave(load_station(find_task("stack_bowls"))[0]).spec
    rows, duration = cut_plan(np.arange(20.0)[:, None], 0.05, spec, False)
    assert (rows[:, 0] == np.arange(10)).all() and duration == 0.05
    whole, _ = cut_plan(np.zeros((20, 1)), 0.05, replace(spec, executed_rows=None), False)
    assert len(whole) == 20


def test_rows_last_as_long_as_the_fastest_joint_needs():
    wire = wire_of("franka", Space.JOINT_POSITION)
    rows = np.zeros((3, 8))
    rows[:, 0] = [0.1, 0.2, 1.0]  # 0.8 rad at 2.62 rad/s
    assert wire.slow_down(np.zeros(8), rows, 0.1) == pytest.approx(0.8 / 2.62, rel=1e-4)
    assert wire.slow_down(np.zeros(8), rows[:2], 0.1) == 0.1
    rows[:, 0], rows[:, 7] = 0.0, 5.0  # a gripper is the platform's business
    assert wire.slow_down(np.zeros(8), rows, 0.1) == 0.1


def test_columns_that_the_robot_has_not_are_refused():
    task = find_task("stack_bowls")
    robot, station = load_station(task)
    with pytest.raises(ChallengeError, match="no layout in its YAML has the policy's columns, x"):
        make_wire(robot, station, task, ("x",), Space.JOINT_POSITION)


@pytest.mark.parametrize("robot", TASKS)
def test_public_settings_of_every_task_fit_the_wire(robot):
    for task in load_tasks().values():
        if task.robot != robot:
            continue
        spec, station = load_station(task)
        for name in (task.specialist, task.generalist):
            settings = find_entry(name).settings
            layout = settings.layout_of(spec)
            wire = make_wire(spec, station, task, layout.columns, layout.space)
            # the unit that the checkpoint was trained in is the platform's: nothing is left over
            rows = np.linspace(0.01, 0.06, 5)[:, None] * np.ones(len(layout.columns))
            assert (wire.layout.to_data(rows) == layout.to_data(rows)).all()


@pytest.mark.parametrize("robot", POSE)
def test_a_network_with_public_settings_plans_for_the_mock(tmp_path, robot):
    """DM0 at small size, with the settings of the public generalist: pose, gripper rule, units."""
    task = find_task(TASKS[robot])
    spec, _ = load_station(task)
    settings = find_entry(task.generalist).settings
    folder = write_runnable(tmp_path)
    small = np.random.default_rng(0).normal(size=(50, 7)) * [
        *[1e-3] * 6,
        50 if robot == "ur5" else 0.02,
    ]
    save_stats(compute_stats(small, small, width=8), folder)
    policy = Dm0Policy.from_checkpoint(
        folder, spec, settings=replace(settings, max_text_tokens=300)
    )
    mock = MockRobot(task, lambda: 5.0)
    wire = make_wire(*load_station(task), task, policy.spec.action_names, policy.spec.space)
    row, _ = mock.look(wire.action_type)
    pictures = dict.fromkeys(policy.spec.camera_slots, np.zeros((20, 20, 3), np.uint8))
    plan = policy.infer(Observation(pictures, wire.read_state(row), task.prompt, 0.0))
    rows, duration = cut_plan(plan.values, plan.step, policy.spec, task.half_speed)
    sent = wire.write_rows(rows)
    mock.take(wire.action_type, sent, duration)
    assert mock.look(wire.action_type)[1] == len(sent)
    grippers, rule = np.array(sent)[:, -1], settings.gripper
    if rule.above is None:
        assert ((grippers == rule.below) | (grippers >= rule.threshold)).all()
    else:
        assert np.isclose(grippers[:, None], [rule.below, rule.above]).any(axis=1).all()


BAD_ROWS = {
    "width": (np.zeros((2, 6)), "shape (2, 6); (rows, 7)"),
    "empty": ([], "shape (0,)"),
    "ragged": ([[0.0] * 7, [0.0]], "no rows of numbers"),
    "text": ([["a"] * 7], "no rows of numbers"),
    "nan": ([[float("nan")] * 7], "not finite"),
    "far": (None, "leaves -3.14 to 2.618 rad"),
    "fast": (None, "joint1 moves at"),
    "gripper": (None, "a gripper is sent outside of 0 to 0.088"),
    "long": (np.zeros((201, 7)), "queue full: 201 rows"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_the_mock_refuses_what_no_arm_can_do(name):
    now = [0.0]
    mock = MockRobot(find_task("put_cup_on_coaster"), lambda: now[0])
    home, _ = mock.look("leftjoint")
    rows, reason = BAD_ROWS[name]
    if rows is None:
        rows = np.array([home] * 3)
        column, value = {"far": (0, 3.0), "fast": (0, 1.0), "gripper": (6, 0.2)}[name]
        rows[1, column] = value
    with pytest.raises(Refusal) as caught:
        mock.take("leftjoint", rows, 1.0 if name == "far" else 0.1)
    assert reason in str(caught.value)
    assert mock.look("leftjoint") == (home, 0)


@pytest.mark.parametrize("duration", [0, -0.1, 1.5, "0.1", None, True, float("nan")])
def test_the_mock_refuses_other_durations(duration):
    mock = MockRobot(find_task("put_cup_on_coaster"), lambda: 0.0)
    home, _ = mock.look("leftjoint")
    with pytest.raises(Refusal, match="duration is"):
        mock.take("leftjoint", [home], duration)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((0, 1.0), "m from the base|m/s"),
        ((0, 0.2), r"the tool moves at \d"),
        ((3, 0.5), "length 1"),
        ((2, 2.0), "from the base"),
    ],
)
def test_the_mock_refuses_poses_out_of_reach_or_too_fast(change, reason):
    mock = MockRobot(find_task("press_three_buttons"), lambda: 0.0)
    home, _ = mock.look("leftpos")
    row = np.array(home)
    row[change[0]] += change[1]
    with pytest.raises(Refusal, match=reason):
        mock.take("leftpos", [row], 0.1)
    turned = np.array(home)
    turned[3:7] = np.roll(turned[3:7], 1)
    with pytest.raises(Refusal, match="the tool turns at"):
        mock.take("leftpos", [turned], 0.1)


def test_the_mock_executes_in_time():
    now = [10.0]
    mock = MockRobot(find_task("stack_bowls"), lambda: now[0])
    home, _ = mock.look("joint")
    rows = np.array(home) + np.linspace(0.01, 0.05, 5)[:, None] * ([1.0] + [0.0] * 13)
    mock.take("joint", rows, 0.1)
    for time, at, pending in ((10.05, home, 5), (10.25, rows[1], 3), (10.6, rows[4], 0)):
        now[0] = time
        row, left = mock.look("joint")
        assert row == pytest.approx(list(at)) and left == pending
    assert mock.executed == 1
    with pytest.raises(Refusal, match="this job's action type is joint, not leftjoint"):
        mock.look("leftjoint")
    mock.rest()
    with pytest.raises(Refusal, match="has no action type 'pos'; it has joint"):
        mock.look("pos")
