# SPDX-License-Identifier: Apache-2.0
"""Kinematics of the URDFs against the makers' figures, which test/arm_tables.py multiplies out."""

import numpy as np
import pinocchio
import pytest
from arm_tables import TABLES, pose_from_table
from hypothesis import given, settings
from hypothesis import strategies as st

from dm0_ros.errors import RobotError
from dm0_ros.robots import load_robot
from dm0_ros.robots.inverse import pose_error
from dm0_ros.robots.kinematics import Chain, load_urdf

QUARTER = np.pi / 2
ROBOTS = {name: load_robot(name) for name in TABLES}
# every arm of every robot
ARMS = [(name, end.name) for name, spec in ROBOTS.items() for end in spec.end_effectors]
CHAINS = {
    (name, end.name): Chain(load_urdf(spec), end.base, end.tip)
    for name, spec in ROBOTS.items()
    for end in spec.end_effectors
}


def joints_of(robot, arm):
    known = {joint.name: joint for joint in ROBOTS[robot].joints}
    return [known[name] for name in CHAINS[robot, arm].joint_names]


def place(joints, fractions):
    pairs = zip(joints, fractions, strict=False)
    return np.array([joint.lower + f * (joint.upper - joint.lower) for joint, f in pairs])


unit = st.lists(st.floats(0.0, 1.0), min_size=7, max_size=7)


@pytest.mark.parametrize(("robot", "arm"), ARMS)
def test_poses_are_those_of_the_makers_figures(robot, arm):
    chain, joints = CHAINS[robot, arm], joints_of(robot, arm)
    for fractions in np.random.default_rng(5).uniform(size=(200, len(joints))):
        angles = place(joints, fractions)
        np.testing.assert_allclose(
            chain.pose_at(angles), pose_from_table(robot, angles), rtol=0, atol=1e-9
        )


def angles_of(matrix):
    """Roll, pitch and yaw of fixed axes."""
    roll = np.arctan2(matrix[2, 1], matrix[2, 2])
    return roll, -np.arcsin(matrix[2, 0]), np.arctan2(matrix[1, 0], matrix[0, 0])


# Where the arm is at known joint positions: where RoboChallenge's episodes start (for URs by the
# lengths of their links), and the zero poses that piper_sdk and Interbotix publish.
REFERENCES = {
    "ur5": ([0, -QUARTER, -QUARTER, -QUARTER, QUARTER, 0.061], (-0.4869, 0.10915, 0.431859)),
    "ur5e": ([0, -QUARTER, -QUARTER, -QUARTER, QUARTER, 0.061], (-0.4919, 0.1333, 0.4879)),
    "arx5": ([-0.007, 0.847, 0.995, -0.546, -0.007, 0.0], (0.2997, 0.0, 0.2972)),
    "aloha": ([0.0] * 6, (0.056128, 0.0, 0.213266)),
    "aloha_viperx": ([0.0] * 6, (0.536494, 0.0, 0.42705)),
}


@pytest.mark.parametrize("robot", REFERENCES)
def test_known_joint_positions_give_known_places(robot):
    angles, expected = REFERENCES[robot]
    for arm in (end.name for end in ROBOTS[robot].end_effectors):
        pose = CHAINS[robot, arm].pose_at(np.array(angles, float))
        # recorded values have four digits
        np.testing.assert_allclose(pose[:3, 3], expected, atol=2e-4 if robot == "arx5" else 1e-6)


def test_known_joint_positions_give_known_directions():
    def pose(robot, arm="arm"):
        return CHAINS[robot, arm].pose_at(np.array(REFERENCES[robot][0], float))

    assert angles_of(pose("arx5"))[1] == pytest.approx(0.398, abs=1e-3)
    assert angles_of(pose("aloha", "left"))[1] == pytest.approx(np.radians(85), abs=1e-9)
    for robot in ("ur5", "ur5e"):
        np.testing.assert_allclose(pose(robot)[:3, 2], [0, 0, -1], atol=1e-9)
    np.testing.assert_allclose(pose("aloha_viperx", "left")[:3, :3], np.eye(3), atol=1e-9)


def test_two_arms_stand_where_their_makers_have_them():
    def base(robot, arm):
        return Chain(load_urdf(ROBOTS[robot]), "base_link", f"{arm}_base_link").pose_at(
            np.empty(0)
        )

    for arm, side in (("left", 1), ("right", -1)):
        beside, facing = base("aloha", arm), base("aloha_viperx", arm)
        np.testing.assert_allclose(beside[:3, 3], [0, 0.3 * side, 0], atol=1e-12)
        np.testing.assert_allclose(beside[:3, :3], np.eye(3), atol=1e-12)
        np.testing.assert_allclose(facing[:3, 3], [0, 0.469 * side, 0], atol=1e-12)
        np.testing.assert_allclose(facing[:3, 0], [0, -side, 0], atol=1e-12)


@pytest.mark.parametrize(("robot", "arm"), ARMS)
@given(fractions=unit)
@settings(max_examples=20, deadline=None)
def test_names_not_their_order_decide(robot, arm, fractions):
    chain, joints = CHAINS[robot, arm], joints_of(robot, arm)
    angles = place(joints, fractions)
    named = {joint.name: value for joint, value in zip(joints, angles, strict=True)}
    named = dict(reversed([*named.items(), ("something else", 0.3)]))
    np.testing.assert_array_equal(chain.pose(named), chain.pose_at(angles))
    np.testing.assert_array_equal(chain.jacobian(named), chain.jacobian_at(angles))


@pytest.mark.parametrize(("robot", "arm"), ARMS)
@given(fractions=unit, seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_jacobian_is_the_derivative_of_the_pose(robot, arm, fractions, seed):
    chain, joints = CHAINS[robot, arm], place(joints_of(robot, arm), fractions)
    motion = np.random.default_rng(seed).normal(size=len(joints))
    tiny = 1e-5
    ahead, behind = chain.pose_at(joints + tiny * motion), chain.pose_at(joints - tiny * motion)
    difference = pose_error(ahead, behind) / (2 * tiny)
    np.testing.assert_allclose(chain.jacobian_at(joints) @ motion, difference, atol=1e-6)


@pytest.mark.parametrize(
    ("robot", "arm", "inner"),
    [
        ("ur5", "arm", "upper_arm_link"),
        ("franka", "arm", "fr3_link2"),
        ("arx5", "arm", "link3"),
        ("aloha", "right", "right_link2"),
    ],
)
def test_a_chain_between_inner_links_is_seen_from_its_base(robot, arm, inner):
    """Base not at the root: poses and Jacobian are those of the whole, taken apart."""
    spec, whole = ROBOTS[robot], CHAINS[robot, arm]
    upper = Chain(load_urdf(spec), whole.base, inner)
    rest = Chain(load_urdf(spec), inner, whole.tip)
    assert upper.joint_names + rest.joint_names == whole.joint_names
    joints = place(joints_of(robot, arm), [0.3, 0.6, 0.4, 0.7, 0.2, 0.45, 0.8])
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
    for gripper in ROBOTS[robot].grippers:
        index = model.joints[model.getJointId(gripper.name)].idx_q
        for limit, opening in (
            (model.lowerPositionLimit, gripper.closed),
            (model.upperPositionLimit, gripper.open),
        ):
            assert limit[index] * gripper.opening_per_joint == pytest.approx(opening)
        reached = model.velocityLimit[index] * gripper.opening_per_joint
        assert gripper.velocity == pytest.approx(reached, abs=1e-9)


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
