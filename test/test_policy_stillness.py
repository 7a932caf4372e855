# SPDX-License-Identifier: Apache-2.0
"""How much motion plans ask for, in joints and in poses."""

import math

import numpy as np
import pinocchio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm0_ros.policy.stillness import RADIAN, Stillness
from dm0_ros.robots import load_robot
from dm0_ros.robots.kinematics import euler_from_pose

UR5 = load_robot("ur5")
COLUMNS = UR5.layout("pose").columns
POSES = Stillness(COLUMNS, COLUMNS, UR5.joint_names)
DOWN = np.array([-0.4, 0.1, 0.3, math.pi - 1e-3, 0.0, 1.5, 0.02])  # where a UR5 works


def test_the_furthest_joint_counts_and_no_gripper():
    names = ("shoulder", "finger", "elbow")
    stillness = Stillness(names, names[::-1], {"shoulder", "elbow"})
    rows = np.array([[0.1, 9.0, 0.2], [0.1, 9.0, -0.5]])
    assert stillness.measure(rows, np.array([0.2, 0.0, 0.1])) == pytest.approx(0.7)


def test_a_roll_that_wraps_is_no_motion():
    rows = np.tile(DOWN, (4, 1))
    rows[:, 3] = [math.pi - 1e-3, -math.pi + 1e-3, -math.pi, math.pi]
    assert POSES.measure(rows, DOWN) == pytest.approx(2e-3, abs=1e-6)


def test_a_way_of_the_tool_counts_and_a_gripper_does_not():
    rows = np.tile(DOWN, (4, 1))
    rows[:, 6] = 0.085
    assert POSES.measure(rows, DOWN) == pytest.approx(0.0, abs=1e-7)
    rows[2, 1] += 0.03
    assert POSES.measure(rows, DOWN) == pytest.approx(0.03 / RADIAN)


@given(vector=st.lists(st.floats(-1.7, 1.7), min_size=3, max_size=3))
def test_a_turn_counts_as_the_angle_that_it_is(vector):
    """Whatever becomes of the angles: near a pitch of a right angle all three leap."""
    pose = np.eye(4)
    pose[:3, :3] = pinocchio.exp3(np.array(vector)) @ pinocchio.rpy.rpyToMatrix(*DOWN[3:6])
    row = DOWN.copy()
    row[3:6] = euler_from_pose(pose)
    angle = np.linalg.norm(vector)
    assert POSES.measure(row[None], DOWN) == pytest.approx(min(angle, math.tau - angle), abs=1e-6)


def test_each_of_several_arms_counts():
    names = [f"{arm}_{term}" for arm in ("left", "right") for term in COLUMNS[:6]]
    stillness = Stillness(names, names, ())
    for column, expected in ((1, 0.3 / RADIAN), (8, 0.3 / RADIAN), (4, 0.3), (11, 0.3)):
        rows = np.zeros((2, 12))
        rows[1, column] = 0.3
        assert stillness.measure(rows, np.zeros(12)) == pytest.approx(expected)
