# SPDX-License-Identifier: Apache-2.0
"""Rows of poses as a curve: through the rows, smooth, the shortest way, however it is written."""

import numpy as np
import pinocchio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dm0_ros.control.plan import Chunk
from dm0_ros.control.pose import PosePath, read_plan
from dm0_ros.errors import PlanError
from dm0_ros.robots.inverse import pose_error
from dm0_ros.robots.spec import Space

NAMES = ("x", "y", "z", "qx", "qy", "qz", "qw", "gripper")
EULER_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
STEP = 0.1
seeds = st.integers(0, 10_000)


def chunk(values, names=NAMES, step=STEP, space=Space.EEF_POSE):
    return Chunk(5.0, step, space, names, np.asarray(values, float), 1, 0)


def path_of(values, names=NAMES):
    return PosePath(read_plan(chunk(values, names), ["arm"], ["gripper"]).arms[0], STEP)


def wander(seed, rows=12, turn=0.5):
    """Random rows whose rotations differ by up to about ``turn`` rad from one to the next."""
    random = np.random.default_rng(seed)
    places = np.cumsum(random.normal(scale=0.02, size=(rows, 3)), axis=0)
    rotation = pinocchio.exp3(random.normal(size=3))
    quaternions = []
    for _ in range(rows):
        quaternions.append(pinocchio.Quaternion(rotation).coeffs())
        axis = random.normal(size=3)
        axis *= turn * random.uniform() / np.linalg.norm(axis)
        rotation = pinocchio.exp3(axis) @ rotation
    return np.column_stack([places, quaternions, random.uniform(0, 0.08, rows)])


def matrix_of(row):
    pose = np.eye(4)
    pose[:3, :3] = pinocchio.Quaternion(np.array(row[3:7])).toRotationMatrix()
    pose[:3, 3] = row[:3]
    return pose


@given(seed=seeds)
@settings(max_examples=50, deadline=None)
def test_the_curve_passes_the_rows_at_their_times_and_rests_in_the_last(seed):
    rows = wander(seed)
    path = path_of(rows)
    for index, row in enumerate(rows[:-1]):
        np.testing.assert_allclose(path.pose(index * STEP), matrix_of(row), atol=1e-9)
    assert path.end == pytest.approx(len(rows) * STEP)
    pose, twist = path.sample(path.end)
    np.testing.assert_allclose(pose, matrix_of(rows[-1]), atol=1e-9)
    np.testing.assert_allclose(twist, 0, atol=1e-9)


@given(seed=seeds)
@settings(max_examples=50, deadline=None)
def test_velocity_is_the_derivative_and_has_no_corners(seed):
    path = path_of(wander(seed))
    tiny = 1e-6
    random = np.random.default_rng(seed)
    for time in random.uniform(0, path.end - 0.01, 10):
        difference = pose_error(path.pose(time + tiny), path.pose(time - tiny)) / (2 * tiny)
        np.testing.assert_allclose(path.sample(time)[1], difference, atol=1e-5)
    for row in range(1, 12):  # acceleration is the same from both sides of a row
        before, at, after = (path.sample(row * STEP + d)[1] for d in (-tiny, 0.0, tiny))
        np.testing.assert_allclose((at - before) / tiny, (after - at) / tiny, atol=2e-2)


@given(seed=seeds, flips=st.lists(st.booleans(), min_size=12, max_size=12))
@settings(max_examples=50, deadline=None)
def test_signs_of_quaternions_change_nothing(seed, flips):
    rows = wander(seed)
    flipped = rows.copy()
    flipped[:, 3:7] *= np.where(flips, -1.0, 1.0)[:, None]
    for time in np.linspace(0, 1.2, 40):
        for one, other in zip(
            path_of(rows).sample(time), path_of(flipped).sample(time), strict=True
        ):
            np.testing.assert_array_equal(one, other)


@given(seed=seeds)
@settings(max_examples=25, deadline=None)
def test_every_turn_is_the_shortest(seed):
    """Between neighbours the curve turns hardly more than their distance."""
    rows = wander(seed)
    path = path_of(rows)
    for row in range(10):
        times = np.linspace(row, row + 1, 20) * STEP
        rates = [np.linalg.norm(path.sample(time)[1][3:]) for time in times]
        way = np.mean(rates) * STEP
        direct = np.linalg.norm(pose_error(matrix_of(rows[row + 1]), matrix_of(rows[row]))[3:])
        assert way < direct + 0.35  # curving costs something, a flip a whole turn


def test_euler_angles_that_wrap_turn_no_further():
    """A UR5's tool points down: its roll is near pi and jumps to -pi."""
    roll = np.pi + np.linspace(-0.1, 0.1, 12)
    wrapped = (roll + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(np.diff(wrapped)).max() > 6
    columns = [np.zeros((12, 3)), wrapped, np.zeros((12, 2)), np.full(12, 0.04)]
    path = path_of(np.column_stack(columns), EULER_NAMES)
    rates = [np.linalg.norm(path.sample(time)[1][3:]) for time in np.linspace(0, 1.2, 200)]
    # braking ahead of the last row takes it up to 15/16 of a constant speed, never more
    assert max(rates) < 1.01 * 0.2 / (11 * STEP)


@pytest.mark.parametrize("axis", [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0, 0.8]])
def test_half_a_turn_between_rows_goes_one_of_the_two_ways(axis):
    turns = [np.zeros(3), np.array(axis) * np.pi]
    quaternions = np.stack([pinocchio.Quaternion(pinocchio.exp3(t)).coeffs() for t in turns])
    rows = np.column_stack([np.zeros((2, 3)), quaternions, np.zeros(2)])
    path = path_of(rows)
    turned = [pose_error(path.pose(time), np.eye(4))[3:] for time in np.linspace(0, 0.18, 30)]
    angles = np.abs(turned @ np.array(axis, float))
    np.testing.assert_allclose(angles, np.linalg.norm(turned, axis=1), atol=1e-6)
    assert np.all(np.diff(angles) > 0)
    rows[1, 3:7] *= -1
    np.testing.assert_array_equal(path_of(rows).pose(STEP), path.pose(STEP))


def test_repeated_rows_stand_still():
    rows = np.repeat(wander(3)[:1], 8, axis=0)
    path = path_of(rows)
    for time in np.linspace(0, 1, 30):
        pose, twist = path.sample(time)
        np.testing.assert_allclose(pose, matrix_of(rows[0]), atol=1e-12)
        np.testing.assert_allclose(twist, 0, atol=1e-12)


def test_columns_come_in_any_order_and_with_the_arms_prefix():
    rows = wander(5)
    order = np.random.default_rng(0).permutation(8)
    prefixed = tuple(NAMES[i] if NAMES[i] == "gripper" else f"arm_{NAMES[i]}" for i in order)
    shuffled = read_plan(chunk(rows[:, order], prefixed), ["arm"], ["gripper"])
    plain = read_plan(chunk(rows), ["arm"], ["gripper"])
    (one,), (other,) = shuffled.arms, plain.arms
    np.testing.assert_array_equal(one.positions, other.positions)
    np.testing.assert_array_equal(one.quaternions, other.quaternions)
    np.testing.assert_array_equal(shuffled.grippers, rows[:, 7:])


def damaged(row, column, value):
    rows = wander(1)
    rows[row, column] = value
    return chunk(rows)


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (damaged(3, 1, np.nan), "not finite: y is nan in row 3"),
        (damaged(11, 6, np.inf), "not finite: qw is inf in row 11"),
        (damaged(4, 7, -np.inf), "not finite: gripper is -inf in row 4"),
        (damaged(5, 2, -1e9), "arm: z is -1e.09 m in row 5; check the units"),
        (chunk(np.repeat(wander(1), 100, axis=0)), "plan has 1200 rows; at most 1000"),
        (damaged(2, slice(3, 7), 0.1), "quaternion of row 2 has length 0.2"),
        (chunk(wander(1), space=Space.JOINT_POSITION), "joint_position space; poses"),
        (chunk(wander(1), step=0.0), "a step of 0.0 s"),
        (chunk(wander(1)[:0]), r"shape \(0, 8\)"),
        (chunk(wander(1)[:, :7]), r"shape \(12, 7\); expected \(rows, 8\)"),
        (chunk(wander(1), (*NAMES[:-1], "thumb")), "unknown column thumb and lacks gripper"),
        (chunk(wander(1), (*NAMES[:-1], "arm_x")), "a column twice: .*arm_x"),
        (chunk(wander(1), ("left_x", *NAMES[1:])), "unknown column left_x and lacks x"),
        (chunk(wander(1)[:, :7], NAMES[:7]), "lacks gripper; expected x, y, z, qx"),
    ],
)
def test_what_is_wrong_is_named(plan, sentence):
    with pytest.raises(PlanError, match=sentence):
        read_plan(plan, ["arm"], ["gripper"])
