# SPDX-License-Identifier: Apache-2.0
"""Columns of poses: their names, and the same rotation in angles and in quaternions."""

import numpy as np
import pinocchio
from hypothesis import given
from hypothesis import strategies as st

from dm0_ros.robots.kinematics import euler_from_pose
from dm0_ros.robots.poses import (
    EULER,
    POSITION,
    QUATERNION,
    find_angles,
    find_prefixes,
    name_columns,
    quaternions_from_euler,
    shorten_name,
    write_quaternions,
)

triples = st.lists(st.floats(-7, 7), min_size=3, max_size=3)


def turn(quaternion):
    return pinocchio.Quaternion(np.asarray(quaternion)).toRotationMatrix()


@given(angles=triples)
def test_euler_angles_are_about_fixed_axes(angles):
    quaternion = quaternions_from_euler(np.array([angles]))[0]
    expected = pinocchio.rpy.rpyToMatrix(*angles)  # as URDF defines them
    np.testing.assert_allclose(turn(quaternion), expected, atol=1e-12)


@given(vector=triples)
def test_angles_of_a_pose_give_its_rotation_back(vector):
    pose = np.eye(4)
    pose[:3, :3] = pinocchio.exp3(np.array(vector))
    angles = euler_from_pose(pose)
    assert np.all(np.abs(angles) <= np.pi) and abs(angles[1]) <= np.pi / 2
    back = quaternions_from_euler(angles[None])[0]
    np.testing.assert_allclose(turn(back), pose[:3, :3], atol=1e-7)


def test_names_have_a_prefix_where_there_are_several_arms():
    assert name_columns(POSITION, "arm", ["arm"]) == ("x", "y", "z")
    assert name_columns(EULER, "left", ["left", "right"]) == (
        "left_roll",
        "left_pitch",
        "left_yaw",
    )
    assert shorten_name("arm_qx", ["arm"]) == "qx"
    assert shorten_name("arm_joint1", ["arm"]) == "arm_joint1"
    assert shorten_name("left_x", ["left", "right"]) == "left_x"
    names = ("x", "yaw", "left_roll", "max_roll_x", "left_finger", "rolling", "pitch")
    assert find_angles(names).tolist() == [False, True, True, False, False, False, True]
    assert find_prefixes(("right_x", "fr3_joint1", "x", "max")) == ["right_", ""]


@given(one=triples, other=triples, places=st.permutations(range(14)))
def test_quaternions_stand_in_for_angles_wherever_those_are(one, other, places):
    arms = ("left", "right")
    names = [
        n for arm in arms for n in (*name_columns(POSITION + EULER, arm, arms), f"{arm}_grip")
    ]
    values = np.arange(28.0).reshape(2, 14)
    for arm, angles in zip(arms, (one, other), strict=True):
        values[:, [names.index(n) for n in name_columns(EULER, arm, arms)]] = angles
    shuffled = [names[place] for place in places]
    written, rows = write_quaternions(shuffled, values[:, places])
    assert rows.shape == (2, 16)
    found = dict(zip(written, rows.T, strict=True))
    assert set(found) == {n for n in names if not find_angles([n])[0]} | {
        n for arm in arms for n in name_columns(QUATERNION, arm, arms)
    }
    for arm, angles in zip(arms, (one, other), strict=True):
        quaternions = np.stack([found[n] for n in name_columns(QUATERNION, arm, arms)], axis=1)
        expected = quaternions_from_euler(np.tile(angles, (2, 1)))
        np.testing.assert_array_equal(quaternions, expected)
        for term in ("x", "y", "z", "grip"):
            name = f"{arm}_{term}"
            np.testing.assert_array_equal(found[name], values[:, names.index(name)])


def test_columns_keep_their_order():
    names = ("x", "y", "z", "roll", "pitch", "yaw", "finger")
    written, rows = write_quaternions(names, np.zeros((3, 7)))
    assert written == ("x", "y", "z", "qx", "qy", "qz", "qw", "finger")
    np.testing.assert_array_equal(rows[:, 3:7], [[0, 0, 0, 1]] * 3)
