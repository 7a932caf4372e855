# SPDX-License-Identifier: Apache-2.0
"""Differential inverse kinematics: exact in the open, tame near singularities, inside limits."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dm0_ros.control.kinematics import Arm
from dm0_ros.robots import load_robot

ROBOTS = {name: load_robot(name) for name in ("franka", "panda", "ur5")}
ARMS = {name: Arm(spec, spec.end_effectors[0]) for name, spec in ROBOTS.items()}
seeds = st.integers(0, 100_000)
robots = pytest.mark.parametrize("robot", ARMS)


def somewhere(arm, random, inside=0.0):
    """Random joints, at least the share ``inside`` of their range from its ends."""
    shares = random.uniform(inside, 1 - inside, len(arm.names))
    return arm.lower + shares * (arm.upper - arm.lower)


def singularity(arm, joints):
    return np.linalg.svd(arm.chain.jacobian_at(joints), compute_uv=False)[-1]


@robots
@given(seed=seeds)
@settings(max_examples=50, deadline=None)
def test_in_the_open_the_tip_moves_exactly_as_asked(robot, seed):
    arm, random = ARMS[robot], np.random.default_rng(seed)
    joints = somewhere(arm, random, 0.1)
    assume(singularity(arm, joints) > 0.04)
    twist = random.normal(size=6)
    velocity = arm.follow(joints, twist)
    np.testing.assert_allclose(arm.chain.jacobian_at(joints) @ velocity, twist, atol=1e-9)


@given(seed=seeds)
@settings(max_examples=50, deadline=None)
def test_what_is_left_free_goes_home(seed):
    """Of two velocities that move the tip alike, the one with posture is closer to home."""
    arm, random = ARMS["franka"], np.random.default_rng(seed)
    joints = somewhere(arm, random, 0.1)
    assume(singularity(arm, joints) > 0.04)
    twist = 0.1 * random.normal(size=6)
    jacobian = arm.chain.jacobian_at(joints)
    plain = np.linalg.pinv(jacobian) @ twist
    extra = arm.follow(joints, twist) - plain
    np.testing.assert_allclose(jacobian @ extra, 0, atol=1e-9)
    assert extra @ (arm.preferred - joints) >= -1e-12


@robots
@given(seed=seeds)
@settings(max_examples=50, deadline=None)
def test_a_tip_at_rest_leaves_all_joints_at_rest(robot, seed):
    arm = ARMS[robot]
    joints = somewhere(arm, np.random.default_rng(seed))
    np.testing.assert_array_equal(arm.follow(joints, np.zeros(6)), 0)


@pytest.mark.parametrize(
    ("robot", "joints"),
    [
        ("ur5", [0.3, -1.2, -1.4, -1.0, 0.0, 0.5]),  # two wrist axes are one
        ("ur5", [0.3, -1.2, 0.0, -1.0, 1.2, 0.5]),  # stretched out
        ("franka", [0.0, 0.3, 0.0, -0.466, 0.0, 1.9, 0.0]),  # elbow straight
    ],
)
@given(seed=seeds, off=st.floats(-0.02, 0.02))
@settings(max_examples=30, deadline=None)
def test_at_a_singularity_joint_velocities_stay_bounded(robot, joints, seed, off):
    arm, random = ARMS[robot], np.random.default_rng(seed)
    joints = np.array(joints) + off * random.normal(size=len(joints))
    twist = random.normal(size=6)
    twist /= np.linalg.norm(twist)
    # 1 / (2 damping) bounds damped least squares; and so does 1 / singular value the plain kind
    assert np.linalg.norm(arm.follow(joints, twist)) < 60 + 10


@robots
@given(seed=seeds)
@settings(max_examples=50, deadline=None)
def test_a_near_pose_is_reached_within_limits(robot, seed):
    arm, random = ARMS[robot], np.random.default_rng(seed)
    there = somewhere(arm, random, 0.05)
    assume(singularity(arm, there) > 0.04)
    start = there + 0.05 * random.normal(size=len(there))
    place = arm.converge(start, arm.chain.pose_at(there), 50)
    assert place.within(1e-5, 1e-5)
    assert np.all(place.joints >= arm.lower) and np.all(place.joints <= arm.upper)


@robots
@given(seed=seeds)
@settings(max_examples=30, deadline=None)
def test_a_pose_out_of_reach_is_come_close_to(robot, seed):
    """The nearest place is no further than where it began, and in the joints' range."""
    arm, random = ARMS[robot], np.random.default_rng(seed)
    start = somewhere(arm, random)
    target = arm.chain.pose_at(start)
    target[:3, 3] *= 2.0 / np.linalg.norm(target[:3, 3])
    place = arm.converge(start, target, 60)
    begun = np.linalg.norm(target[:3, 3] - arm.chain.pose_at(start)[:3, 3])
    assert 0.5 < np.linalg.norm(place.error[:3]) <= begun + 1e-9
    assert np.all(place.joints >= arm.lower) and np.all(place.joints <= arm.upper)


@robots
def test_joints_at_their_limits_go_no_further_and_are_named(robot):
    arm = ARMS[robot]
    joints = np.array([ROBOTS[robot].home[name] for name in arm.names])
    joints[-1] = arm.upper[-1]
    # about the last joint's own axis, outwards
    twist = arm.chain.jacobian_at(joints)[:, -1]
    assert arm.follow(joints, twist)[-1] <= 1e-12
    assert arm.follow(joints, -twist)[-1] < -0.1
    assert arm.at_limit(joints) == [arm.names[-1]]
