# SPDX-License-Identifier: Apache-2.0
"""Layouts: columns of several arms and of a base, and units of a checkpoint's data."""

from dataclasses import replace

import numpy as np
import pytest

from dm0_ros.errors import RobotError
from dm0_ros.resources import find_resource
from dm0_ros.robots import load_robot
from dm0_ros.robots.spec import Layout, RawUnit, Space

ALOHA = load_robot("aloha")
BASE = load_robot("mobile_base").base
JOINTS, GRIPPERS = ALOHA.joint_names, ALOHA.gripper_names
LEFT = tuple(f"left_{term}" for term in ("x", "y", "z", "roll", "pitch", "yaw"))
RIGHT = tuple(name.replace("left", "right") for name in LEFT)


def check(columns, absolute=(), space=Space.JOINT_POSITION, base=None, raw=()):
    """An ALOHA that has one layout more."""
    layout = Layout(space, tuple(columns), tuple(absolute), dict(raw))
    return replace(ALOHA, base=base, layouts={**ALOHA.layouts, "new": layout}).layout("new")


@pytest.mark.parametrize("columns", [LEFT + RIGHT, RIGHT + LEFT[::-1], LEFT, (*LEFT, GRIPPERS[1])])
def test_poses_of_any_arms_are_accepted(columns):
    assert check(columns, space=Space.EEF_POSE).columns == columns


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (LEFT[1:], "layouts.new.columns: lacks left's left_x; add it"),
        ((*LEFT, "right_x", "right_yaw"), "lacks right's right_y, right_z, right_roll, right_p"),
        (
            LEFT + JOINTS[:1],
            r"columns\[6\]: unknown column of eef_pose left_joint1; known: left_x",
        ),
        (("x", "y", "z", "roll", "pitch", "yaw"), r"columns\[0\]: unknown column of eef_pose x"),
        (("middle_x",), r"unknown column of eef_pose middle_x"),
        (GRIPPERS, "has no end effector's pose; add one"),
    ],
)
def test_other_columns_are_no_poses(columns, message):
    with pytest.raises(RobotError, match=message):
        check(columns, space=Space.EEF_POSE)


# the two mobile robots of the pi0 paper: arms and grippers as ALOHA's, then the base
@pytest.mark.parametrize(("velocities", "count"), [(("vx", "wz"), 16), (("vx", "vy", "wz"), 17)])
def test_two_arms_on_a_base(velocities, count):
    columns = (*JOINTS, *GRIPPERS, *velocities)
    layout = check(columns, (*GRIPPERS, *velocities), base=BASE)
    assert len(layout.columns) == count
    with pytest.raises(RobotError, match=r"absolute: lacks the velocity .*wz; add it"):
        check(columns, GRIPPERS, base=BASE)
    with pytest.raises(RobotError, match=r"columns\[14\]: unknown column of joint_position vx"):
        check(columns, (*GRIPPERS, *velocities))
    poses = (*LEFT, *RIGHT, *velocities)
    assert check(poses, velocities, Space.EEF_POSE, BASE).columns == poses


def test_velocities_alone_need_a_base():
    twist = ("vx", "wz")
    assert check(twist, twist, Space.BASE_TWIST, BASE).columns == twist
    with pytest.raises(RobotError, match="unknown column of base_twist vx; known: none at all"):
        check(twist, twist, Space.BASE_TWIST)
    with pytest.raises(RobotError, match="unknown column of base_twist left_joint1; known: vx"):
        check(("vx", "left_joint1"), ("vx",), Space.BASE_TWIST, BASE)


def test_raw_units_take_the_grippers_range_or_their_own():
    raw = {"left_gripper": RawUnit(0.0, 1.0), "right_gripper": RawUnit(0.0, 1.0, (0.01, 0.06))}
    layout = check(GRIPPERS, GRIPPERS, raw=raw)
    np.testing.assert_allclose(layout.to_data([[0.0, 0.01], [0.07, 0.06]]), [[0, 0], [1, 1]])
    np.testing.assert_allclose(layout.from_data([[0.5, 0.5]]), [[0.035, 0.035]])


def test_other_columns_are_not_converted():
    layout = check(("left_joint1", "left_gripper"), raw={"left_gripper": RawUnit(0.0, 1.0)})
    np.testing.assert_allclose(layout.to_data([1.5, 0.07]), [1.5, 1.0])


def test_joints_have_no_raw_unit():
    with pytest.raises(RobotError, match=r"layouts.new.raw.left_joint1: unknown gripper"):
        check(JOINTS, raw={"left_joint1": RawUnit(0.0, 1.0)})
    with pytest.raises(RobotError, match=r"raw.left_gripper: unknown column left_gripper"):
        check(JOINTS, raw={"left_gripper": RawUnit(0.0, 1.0)})


def test_a_raw_unit_without_widths_cannot_convert():
    layout = Layout(Space.JOINT_POSITION, ("a",), ("a",), {"a": RawUnit(0.0, 1.0)})
    with pytest.raises(ValueError, match="the widths of a are open; call with_strokes first"):
        layout.to_data([0.0])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{closed: 228.0, open: 3.0}", "{closed: 3.0, open: 3.0}", "closed and open are both 3"),
        (
            "open: 3.0}",
            "open: 3.0, widths: [0.085, 0.0]}",
            ".widths: the closed width must be below the open one",
        ),
        ("open: 3.0}", "open: 3.0, unit: counts}", ".unit: unknown key unit; known keys are"),
    ],
)
def test_raw_units_in_a_yaml(tmp_path, old, new, message):
    text = find_resource("config", "ur5.yaml").read_text()
    path = tmp_path / "robot.yaml"
    path.write_text(text.replace(old, new))
    line = next(n for n, t in enumerate(text.splitlines(), 1) if t.strip().startswith("raw:"))
    with pytest.raises(RobotError) as caught:
        load_robot(path)
    where = f"{path}:{line}: layouts.pose.raw.gripper_left_finger_joint"
    assert str(caught.value).startswith(where) and message in str(caught.value)
