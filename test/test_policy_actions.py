# SPDX-License-Identifier: Apache-2.0
"""Rows to network columns and back."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dm0_ros.policy.actions import (
    GripperRule,
    clip_columns,
    decode_actions,
    encode_actions,
    from_differences,
    settle_grippers,
    to_differences,
)
from dm0_ros.policy.normalisation import Normalisation, compute_stats
from dm0_ros.robots import load_robot
from dm0_ros.robots.spec import Layout, RawUnit, Space

LAYOUT = Layout(Space.JOINT_POSITION, ("shoulder", "finger", "elbow"), ("finger",))
POSE = load_robot("franka").layout("pose")
ANGLES = st.floats(-3, 3, allow_nan=False)
STATS = compute_stats(
    np.random.default_rng(0).normal(size=(500, 3)),
    np.ones((2, 3)) * [[0.0], [1.0]],
    width=8,
)


def test_only_named_columns_stay_absolute():
    rows = np.array([[1.0, 0.04, 2.0], [1.5, 0.0, 1.0]])
    differences = to_differences(rows, np.array([1.0, 0.08, 0.5]), LAYOUT)
    np.testing.assert_allclose(differences, [[0.0, 0.04, 1.5], [0.5, 0.0, 0.5]])


def test_every_row_is_relative_to_the_state_not_to_the_row_before():
    rows = np.cumsum(np.ones((4, 3)), axis=0)
    assert to_differences(rows, np.zeros(3), LAYOUT)[:, 0].tolist() == [
        1.0,
        2.0,
        3.0,
        4.0,
    ]


@pytest.mark.parametrize("mode", list(Normalisation))
@given(
    rows=arrays(np.float64, (2, 5, 3), elements=ANGLES),
    state=arrays(np.float64, (2, 3), elements=ANGLES),
)
def test_round_trip(mode, rows, state):
    columns = encode_actions(rows, state, LAYOUT, STATS, mode)
    assert columns.shape == (2, 5, 8) and columns.dtype == np.float32
    np.testing.assert_allclose(
        decode_actions(columns, state, LAYOUT, STATS, mode), rows, atol=1e-5
    )


@pytest.mark.parametrize(("mode", "padding"), [("quantile", -1.0), ("z_score", 0.0)])
def test_padding_is_what_the_network_is_trained_to_give(mode, padding):
    columns = encode_actions(np.ones((2, 3)), np.ones(3), LAYOUT, STATS, Normalisation(mode))
    np.testing.assert_array_equal(columns[:, 3:], padding)


@given(state=st.floats(-math.pi, math.pi), step=st.floats(-3.0, 3.0))
def test_pose_angles_go_the_short_way_round(state, step):
    pose = np.full(7, state)
    row = np.full((1, 7), state + step)
    row[0, 3:6] = (row[0, 3:6] + math.pi) % math.tau - math.pi  # as a driver would report it
    differences = to_differences(row, pose, POSE)
    np.testing.assert_allclose(differences[0, :6], step, atol=1e-9)


@given(
    start=st.floats(-math.pi, math.pi),
    rates=st.lists(st.floats(-3.0, 3.0), min_size=3, max_size=3),
)
def test_a_plan_of_poses_never_leaps_by_a_turn(start, rates):
    """Whoever looks between two rows must find what is between them, on either side of pi."""
    layout = load_robot("ur5").layout("pose")
    state = np.full(7, start)
    true = state + np.outer(np.arange(40) / 5, [0, 0, 0, *rates, 0])
    reported = true.copy()
    reported[:, 3:6] = (true[:, 3:6] + math.pi) % math.tau - math.pi
    plan = from_differences(to_differences(reported, state, layout), state, layout)
    plan[:, 6] = true[:, 6]  # the gripper is no difference
    np.testing.assert_allclose(plan - plan[0], true - true[0], atol=1e-9)
    found, wanted = np.exp(1j * plan[0, 3:6]), np.exp(1j * true[0, 3:6])
    np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_joints_do_not_wrap():
    assert to_differences(np.full((1, 3), 2.8), np.full(3, -2.8), LAYOUT)[0, 0] == pytest.approx(
        5.6
    )


def test_wrong_number_of_columns_is_refused():
    with pytest.raises(ValueError, match=r"3 columns .shoulder, finger, elbow."):
        to_differences(np.zeros((5, 4)), np.zeros(4), LAYOUT)


ROWS = arrays(np.float64, (4, 3), elements=st.floats(-1, 1, allow_nan=False))


@given(rows=ROWS, above=st.none() | st.floats(-2, 2))
def test_a_gripper_closes_for_good_below_its_threshold(rows, above):
    settled = settle_grippers(rows, LAYOUT, GripperRule(threshold=0.04, below=0.004, above=above))
    for before, after in zip(rows, settled, strict=True):
        expected = 0.004 if before[1] < 0.04 else before[1] if above is None else above
        assert after.tolist() == [before[0], expected, before[2]]


def test_the_threshold_itself_is_open():
    rule = GripperRule(threshold=50.0, below=3.0, above=228.0)
    rows = np.array([[0.0, 49.999, 0.0], [0.0, 50.0, 0.0], [0.0, -7.0, 0.0]])
    assert settle_grippers(rows, LAYOUT, rule)[:, 1].tolist() == [3.0, 228.0, 3.0]


def test_columns_are_clipped_each_to_its_own_limits():
    rows = np.array([[-5.0, 0.2, 0.0], [0.5, 0.05, 7.0]])
    clipped = clip_columns(rows, ((-1.0, 1.0), (0.0, 0.1), (-2.0, 3.0)))
    assert clipped.tolist() == [[-1.0, 0.1, 0.0], [0.5, 0.05, 3.0]]


REGISTER = load_robot("ur5").layout("pose")  # its gripper: 3 open, 228 closed, 0.085 m


def pose_row(*grippers):
    return np.array([[-0.4, 0.1, 0.3, 3.1, 0.0, 0.0, gripper] for gripper in grippers])


def test_a_raw_gripper_is_a_register_in_the_data_and_metres_outside():
    """facts/robots.md, A.1: width = 0.085 (228 - r) / 225."""
    widths = [0.085, 0.0, 0.0425, 0.085 * (228 - 50) / 225]
    differences = to_differences(pose_row(*widths), pose_row(0.02)[0], REGISTER)
    np.testing.assert_allclose(differences[:, 6], [3.0, 228.0, 115.5, 50.0])
    np.testing.assert_allclose(differences[:, :6], 0.0, atol=1e-12)
    rows = from_differences(differences, pose_row(0.02)[0], REGISTER)
    np.testing.assert_allclose(rows, pose_row(*widths), atol=1e-12)


def test_the_rule_sees_the_register_and_metres_come_after():
    rule = GripperRule(threshold=50.0, below=3.0, above=228.0)
    differences = np.zeros((4, 7))
    differences[:, 6] = [3.0, 49.9, 50.0, 240.0]
    rows = from_differences(differences, pose_row(0.0)[0], REGISTER, rule)
    np.testing.assert_allclose(rows[:, 6], [0.085, 0.085, 0.0, 0.0], atol=1e-12)


@pytest.mark.parametrize("mode", list(Normalisation))
@given(widths=arrays(np.float64, 5, elements=st.floats(0.0, 0.085)))
def test_round_trip_of_a_register(mode, widths):
    rows, state = pose_row(*widths), pose_row(0.03)[0]
    samples = np.random.default_rng(0).normal(size=(500, 7)) * [*[0.1] * 6, 100.0]
    stats = compute_stats(samples, samples, width=32)
    columns = encode_actions(rows, state, REGISTER, stats, mode)
    decoded = decode_actions(columns, state, REGISTER, stats, mode)
    np.testing.assert_allclose(decoded, rows, atol=1e-5)


def test_a_raw_column_may_be_a_difference_too():
    unit = RawUnit(closed=0.0, open=1.0, widths=(0.02, 0.07))
    layout = Layout(Space.JOINT_POSITION, ("finger",), (), {"finger": unit})
    differences = to_differences(np.array([[0.045], [0.07]]), np.array([0.02]), layout)
    np.testing.assert_allclose(differences, [[0.5], [1.0]])
    rows = from_differences(differences, np.array([0.02]), layout)
    np.testing.assert_allclose(rows, [[0.045], [0.07]])


def test_angles_of_each_arm_wrap():
    columns = ("left_x", "left_roll", "right_yaw", "right_gripper")
    layout = Layout(Space.EEF_POSE, columns, ("right_gripper",))
    differences = to_differences(np.full((1, 4), 3.1), np.full(4, -3.1), layout)
    wrapped = 6.2 - math.tau
    np.testing.assert_allclose(differences, [[6.2, wrapped, wrapped, 3.1]])


def test_the_rule_leaves_the_velocities_of_a_base():
    layout = Layout(Space.JOINT_POSITION, ("elbow", "finger", "vx"), ("finger", "vx"))
    rule = GripperRule(threshold=0.04, below=0.0, above=0.08)
    rows = settle_grippers(np.array([[0.01, 0.01, 0.01]]), layout, rule)
    np.testing.assert_allclose(rows, [[0.01, 0.0, 0.01]])


def test_velocities_of_a_base_are_not_in_the_state():
    columns = ("elbow", "vx", "finger", "wz")
    layout = Layout(Space.JOINT_POSITION, columns, ("finger", "vx", "wz"))
    assert layout.state_columns == ("elbow", "finger")
    state, rows = np.array([1.0, 0.05]), np.array([[1.5, 0.3, 0.04, -0.2]])
    differences = to_differences(rows, state, layout)
    np.testing.assert_allclose(differences, [[0.5, 0.3, 0.04, -0.2]])
    np.testing.assert_allclose(from_differences(differences, state, layout), rows)
    with pytest.raises(ValueError, match=r"4 columns .*, 2 of the state"):
        to_differences(rows, np.zeros(4), layout)
