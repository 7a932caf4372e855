# SPDX-License-Identifier: Apache-2.0
"""The state of a pose layout is where forward kinematics has the tip."""

import dataclasses

import numpy as np
import pinocchio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dm0_ros.errors import ObservationError
from dm0_ros.policy.proprioception import Proprioception
from dm0_ros.robots import load_robot
from dm0_ros.robots.kinematics import Chain, load_urdf

ROBOTS = {name: load_robot(name) for name in ("franka", "ur5")}
SENSES = {
    name: Proprioception(robot.layout("pose").columns, robot) for name, robot in ROBOTS.items()
}
CHAINS = {
    name: Chain(load_urdf(robot), robot.end_effectors[0].base, robot.end_effectors[0].tip)
    for name, robot in ROBOTS.items()
}


@pytest.mark.parametrize("name", ROBOTS)
@given(seed=st.integers(0, 10_000))
@settings(deadline=None)
def test_a_pose_is_that_of_the_tip_in_the_base(name, seed):
    robot, random = ROBOTS[name], np.random.default_rng(seed)
    positions = {j.name: random.uniform(j.lower, j.upper) for j in robot.joints}
    positions |= {gripper.name: 0.03 for gripper in robot.grippers}
    state = SENSES[name].state(positions)
    expected = CHAINS[name].pose(positions)
    np.testing.assert_allclose(state[:3], expected[:3, 3], atol=1e-12)
    found = pinocchio.rpy.rpyToMatrix(*state[3:6])
    np.testing.assert_allclose(found, expected[:3, :3], atol=1e-6)
    assert state[6] == 0.03


@pytest.mark.parametrize("name", ROBOTS)
def test_all_joints_of_the_arm_have_to_be_measured(name):
    assert SENSES[name].measured == (*ROBOTS[name].gripper_names, *ROBOTS[name].joint_names)


def test_joints_are_what_was_measured():
    robot = ROBOTS["franka"]
    columns = robot.layout("joint").columns[::-1]
    senses = Proprioception(columns, robot)
    assert senses.measured == columns
    state = senses.state({name: index for index, name in enumerate(columns)})
    np.testing.assert_array_equal(state, np.arange(8))


def test_several_arms_have_their_names_before_their_columns():
    robot = ROBOTS["ur5"]
    (arm,) = robot.end_effectors
    ends = tuple(dataclasses.replace(arm, name=name) for name in ("left", "right"))
    ends = (ends[0], dataclasses.replace(ends[1], tip="wrist_1_link"))
    both = dataclasses.replace(robot, end_effectors=ends, layouts={})
    terms = ("x", "y", "z", "roll", "pitch", "yaw")
    columns = [f"{name}_{term}" for name in ("right", "left") for term in terms]
    state = Proprioception(columns, both).state(robot.home)
    np.testing.assert_allclose(state[6:9], CHAINS["ur5"].pose(robot.home)[:3, 3])
    wrist = Chain(load_urdf(robot), arm.base, "wrist_1_link").pose(robot.home)
    np.testing.assert_allclose(state[:3], wrist[:3, 3])


def test_a_column_that_the_robot_lacks_is_named():
    with pytest.raises(ObservationError, match=r"ur5 has no axis_x, thumb to observe; .*poses of"):
        Proprioception(("x", "axis_x", "thumb"), ROBOTS["ur5"])
