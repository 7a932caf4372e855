# SPDX-License-Identifier: Apache-2.0
"""Inverse kinematics brings the tip where it was asked to, or says that it cannot."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dm0_ros.errors import RobotError
from dm0_ros.robots import load_robot
from dm0_ros.robots.inverse import pose_error, solve
from dm0_ros.robots.kinematics import Chain, load_urdf

SPEC = load_robot("franka")
CHAIN = Chain(load_urdf(SPEC), SPEC.end_effectors[0].base, SPEC.end_effectors[0].tool)


@given(offsets=st.lists(st.floats(-0.3, 0.3), min_size=7, max_size=7))
@settings(max_examples=50, deadline=None)
def test_solution_reaches_the_pose_within_limits(offsets):
    near = {j.name: SPEC.home[j.name] + d for j, d in zip(SPEC.joints, offsets, strict=True)}
    target = CHAIN.pose(near)
    found = solve(CHAIN, SPEC.joints, target, SPEC.home)
    assert np.linalg.norm(pose_error(target, CHAIN.pose(found))) < 1e-5
    assert all(joint.lower <= found[joint.name] <= joint.upper for joint in SPEC.joints)


def test_out_of_reach_is_named():
    target = CHAIN.pose(SPEC.home)
    target[:3, 3] = [2.0, 0.0, 0.3]
    with pytest.raises(RobotError, match=r"fr3_hand_tcp to \[2.*mm are left"):
        solve(CHAIN, SPEC.joints, target, SPEC.home)


@given(angle=st.floats(-3.0, 3.0))
def test_pose_error_is_the_rotation_vector(angle):
    axis = np.array([0.6, 0.0, 0.8])
    target = np.eye(4)
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    # Rodrigues' formula
    target[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    np.testing.assert_allclose(pose_error(target, np.eye(4))[3:], axis * angle, atol=1e-7)


def test_joints_of_another_arm_are_refused():
    with pytest.raises(RobotError, match=r"limits of fr3_joint1, .* are needed, in this order"):
        solve(CHAIN, SPEC.joints[::-1], CHAIN.pose(SPEC.home), SPEC.home)
