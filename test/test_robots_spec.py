# SPDX-License-Identifier: Apache-2.0
"""A robot's YAML: what is accepted, and the sentence for what is not."""

import copy

import pytest
import yaml

from dm0_ros.errors import Dm0Error, RobotError
from dm0_ros.resources import find_resource
from dm0_ros.robots import load_robot
from dm0_ros.robots.spec import Space

FRANKA = yaml.safe_load(find_resource("config", "franka.yaml").read_text())


def write(tmp_path, change):
    content = copy.deepcopy(FRANKA)
    change(content)
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    ("name", "joints", "slots"),
    [
        ("franka", 7, ("right_hand", "high", "left_hand")),
        ("panda", 7, ("right_hand", "high", "left_hand")),
        ("ur5", 6, ("right_hand", "left_hand")),
    ],
)
def test_shipped_robots_load(name, joints, slots):
    spec = load_robot(name)
    assert spec.name == name
    assert len(spec.joint_names) == joints and len(spec.gripper_names) == 1
    assert spec.camera_slots == slots
    assert set(spec.simulation.cameras) == set(slots)
    assert spec.layout("pose").space is Space.EEF_POSE
    for joint in spec.joints:
        assert joint.lower < spec.home[joint.name] < joint.upper


def remove_home(robot):
    del robot["home"]


def misspell_joint_limit(robot):
    robot["joints"][2]["upperr"] = 1.0


def word_for_number(robot):
    robot["executor"]["rate"] = "fast"


def not_finite(robot):
    robot["joints"][0]["velocity"] = float("nan")


def swapped_limits(robot):
    robot["joints"][0]["lower"] = 5.0


def unknown_joint_in_sink(robot):
    robot["sinks"][0]["names"][3] = "elbow"


def unknown_space(robot):
    robot["layouts"]["joint"]["space"] = "torque"


def joint_without_home(robot):
    del robot["home"]["fr3_joint4"]


def camera_twice(robot):
    robot["cameras"].append(robot["cameras"][0])


def gain_missing(robot):
    del robot["simulation"]["stiffness"]["fr3_joint7"]


def two_end_effectors_in_a_pose_sink(robot):
    robot["sinks"].append({"kind": "pose", "topic": "pose", "names": ["arm", "arm"]})


def joint_in_a_twist_sink(robot):
    robot["sinks"].append({"kind": "twist", "topic": "twist", "names": ["fr3_joint1"]})


def joint_in_a_gripper_action(robot):
    sink = {"kind": "gripper_command", "topic": "gripper_cmd", "names": ["fr3_joint1"]}
    robot["sinks"].append(sink)


def sink_without_names(robot):
    robot["sinks"][0]["names"] = []


def negative_effort(robot):
    robot["sinks"][1]["effort"] = -1.0


def speed_of_nothing(robot):
    robot["speed_scaling"] = {"topic": "speed", "full": 0.0}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (remove_home, ["robot.yaml", "missing key home"]),
        (misspell_joint_limit, ["joints[2]", "unknown key upperr", "known keys", "upper"]),
        (word_for_number, ["executor.rate", "'fast'"]),
        (not_finite, ["joints[0].velocity"]),
        (swapped_limits, ["fr3_joint1", "lower must be below upper"]),
        (unknown_joint_in_sink, ["forward_position_controller/commands", "elbow", "fr3_joint4"]),
        (unknown_space, ["layouts.joint.space", "'torque'", "joint_position"]),
        (joint_without_home, ["home", "fr3_joint4"]),
        (camera_twice, ["camera slot right_hand", "twice"]),
        (two_end_effectors_in_a_pose_sink, ["sink pose takes one end effector, not 2"]),
        (joint_in_a_twist_sink, ["sink twist", "unknown name fr3_joint1", "known: arm"]),
        (joint_in_a_gripper_action, ["gripper_cmd", "fr3_joint1", "known: fr3_finger_joint1"]),
        (sink_without_names, ["forward_position_controller/commands has no names"]),
        (negative_effort, ["gripper_controller/commands.effort must not be negative"]),
        (speed_of_nothing, ["speed_scaling.full must be positive"]),
        (gain_missing, ["simulation.stiffness", "fr3_joint7"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_wrong_is_named(tmp_path, change, words):
    with pytest.raises(RobotError) as caught:
        load_robot(write(tmp_path, change))
    for word in words:
        assert word in str(caught.value)


def test_unknown_robot_says_where_it_looked():
    with pytest.raises(Dm0Error, match=r"No 'r2d2\.yaml'.*Looked in: .*config"):
        load_robot("r2d2")


def test_broken_yaml_is_named(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("joints: [")
    with pytest.raises(RobotError, match=r"broken\.yaml: is not valid YAML"):
        load_robot(path)


def test_unknown_layout_lists_the_known():
    with pytest.raises(RobotError, match="no layout 'torque'; its layouts are joint, pose"):
        load_robot("franka").layout("torque")
