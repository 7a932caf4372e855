# SPDX-License-Identifier: Apache-2.0
"""Kinematics of the URDFs against the makers' Denavit-Hartenberg parameters."""

import numpy as np
import pinocchio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dm0_ros.errors import RobotError
from dm0_ros.robots import load_robot
from dm0_ros.robots.inverse import pose_error
from dm0_ros.robots.kinematics import Chain, load_urdf

QUARTER = np.pi / 2
ROBOTS = {name: load_robot(name) for name in ("franka", "panda", "ur5")}
CHAINS = {
    name: Chain(load_urdf(spec), spec.end_effectors[0].base, spec.end_effectors[0].tip)
    for name, spec in ROBOTS.items()
}

# Franka: Craig's convention, (a, alpha) before (d, theta), m and rad; the flange last.
FRANKA_DH = (
    (0.0, 0.0, 0.333),
    (0.0, -QUARTER, 0.0),
    (0.0, QUARTER, 0.316),
    (0.0825, QUARTER, 0.0),
    (-0.0825, -QUARTER, 0.384),
    (0.0, QUARTER, 0.0),
    (0.088, QUARTER, 0.0),
)
# UR5 of the CB3 series: the classic convention, (d, theta) before (a, alpha).
UR5_DH = (
    (0.089159, 0.0, QUARTER),
    (0.0, -0.425, 0.0),
    (0.0, -0.39225, 0.0),
    (0.10915, 0.0, QUARTER),
    (0.09465, 0.0, -QUARTER),
    (0.0823, 0.0, 0.0),
)


def screw(axis, angle, length):
    """Rotation about a coordinate axis and translation along it, as a matrix (4, 4)."""
    first, second = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(4)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    matrix[axis, 3] = length
    return matrix


def pose_by_dh(robot, angles):
    if robot == "ur5":
        # base_link is the controller's base, turned half around
        pose = screw(2, np.pi, 0.0)
        for (d, a, alpha), theta in zip(UR5_DH, angles, strict=True):
            pose = pose @ screw(2, theta, d) @ screw(0, alpha, a)
        return pose
    pose = np.eye(4)
    for (a, alpha, d), theta in zip(FRANKA_DH, angles, strict=True):
        pose = pose @ screw(0, alpha, a) @ screw(2, theta, d)
    return pose @ screw(2, 0.0, 0.107)


def place(spec, fractions):
    pairs = zip(spec.joints, fractions, strict=False)
    return np.array([joint.lower + f * (joint.upper - joint.lower) for joint, f in pairs])


unit = st.lists(st.floats(0.0, 1.0), min_size=7, max_size=7)


@pytest.mark.parametrize("robot", ROBOTS)
@given(fractions=unit)
@settings(max_examples=100, deadline=None)
def test_pose_is_that_of_the_makers_parameters(robot, fractions):
    joints = place(ROBOTS[robot], fractions)
    expected = pose_by_dh(robot, joints)
    np.testing.assert_allclose(CHAINS[robot].pose_at(joints), expected, atol=1e-8)
    named = dict(zip(ROBOTS[robot].joint_names, joints, strict=True))
    # what else is in the mapping, and its order, do not matter
    named = dict(reversed([*named.items(), ("gripper", 0.3)]))
    np.testing.assert_array_equal(CHAINS[robot].pose(named), CHAINS[robot].pose_at(joints))
    np.testing.assert_array_equal(CHAINS[robot].jacobian(named), CHAINS[robot].jacobian_at(joints))


@pytest.mark.parametrize("robot", ROBOTS)
@given(fractions=unit, seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_jacobian_is_the_derivative_of_the_pose(robot, fractions, seed):
    chain, joints = CHAINS[robot], place(ROBOTS[robot], fractions)
    motion = np.random.default_rng(seed).normal(size=len(joints))
    tiny = 1e-5
    ahead, behind = chain.pose_at(joints + tiny * motion), chain.pose_at(joints - tiny * motion)
    difference = pose_error(ahead, behind) / (2 * tiny)
    np.testing.assert_allclose(chain.jacobian_at(joints) @ motion, difference, atol=1e-6)


@pytest.mark.parametrize("robot", ROBOTS)
def test_a_chain_between_inner_links_is_seen_from_its_base(robot):
    """Base not at the root: poses and Jacobian are those of the whole, taken apart."""
    spec, whole = ROBOTS[robot], CHAINS[robot]
    end = spec.end_effectors[0]
    inner = {"ur5": "upper_arm_link", "franka": "fr3_link2", "panda": "fer_link2"}[robot]
    upper = Chain(load_urdf(spec), end.base, inner)
    rest = Chain(load_urdf(spec), inner, end.tip)
    assert upper.joint_names + rest.joint_names == whole.joint_names
    joints = place(spec, [0.3, 0.6, 0.4, 0.7, 0.2, 0.45, 0.8])
    count = len(upper.joint_names)
    first, second = upper.pose_at(joints[:count]), rest.pose_at(joints[count:])
    np.testing.assert_allclose(first @ second, whole.pose_at(joints), atol=1e-12)
    turned = np.kron(np.eye(2), first[:3, :3]) @ rest.jacobian_at(joints[count:])
    np.testing.assert_allclose(turned, whole.jacobian_at(joints)[:, count:], atol=1e-12)


@pytest.mark.parametrize("robot", ROBOTS)
def test_urdf_limits_are_those_of_the_yaml(robot):
    model = pinocchio.buildModelFromXML(load_urdf(ROBOTS[robot]))
    for joint in ROBOTS[robot].joints:
        index = model.joints[model.getJointId(joint.name)].idx_q
        assert model.lowerPositionLimit[index] == joint.lower
        assert model.upperPositionLimit[index] == joint.upper
        assert model.velocityLimit[index] == joint.velocity


@pytest.mark.parametrize(
    ("base", "tip", "sentence"),
    [
        ("fr3_link0", "fr3_nowhere", "no link 'fr3_nowhere'"),
        ("nowhere", "fr3_link8", "no link 'nowhere'"),
        ("fr3_link8", "fr3_link0", "no chain from link 'fr3_link8' to link 'fr3_link0'"),
    ],
)
def test_wrong_links_are_named(base, tip, sentence):
    with pytest.raises(RobotError, match=sentence):
        Chain(load_urdf(ROBOTS["franka"]), base, tip)


def test_a_joint_without_limits_is_named():
    urdf = load_urdf(ROBOTS["ur5"]).replace(
        'name="elbow_joint" type="revolute"', 'name="elbow_joint" type="continuous"'
    )
    with pytest.raises(RobotError, match="'elbow_joint': give it a type that has limits"):
        Chain(urdf, "base_link", "tool0")


def test_a_broken_urdf_is_refused():
    with pytest.raises(RobotError, match="cannot read the URDF"):
        Chain("<robot>", "base_link", "tool0")
