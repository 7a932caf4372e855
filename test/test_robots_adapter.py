# SPDX-License-Identifier: Apache-2.0
"""Names and numbers of drivers that are not ros2_control's, and YAMLs that extend another."""

import dataclasses
import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dm0_ros.errors import RobotError
from dm0_ros.resources import find_resource
from dm0_ros.robots import load_robot
from dm0_ros.robots.adapter import Translation
from dm0_ros.robots.spec import SinkKind

WIRINGS = sorted(path.stem for path in find_resource("config", "wiring").glob("*.yaml"))


@functools.cache
def translations(robot):
    spec = load_robot(f"wiring/{robot}")
    return spec, [Translation(adapter, spec.grippers) for adapter in spec.adapters]


@pytest.mark.parametrize("name", WIRINGS)
def test_a_wiring_is_its_robot_but_for_outputs(name):
    wired = load_robot(f"wiring/{name}")
    plain = load_robot(wired.name)
    assert name.startswith(wired.name)
    same = dataclasses.replace(wired, sinks=plain.sinks, adapters=(), urdf=plain.urdf)
    assert same == plain
    assert wired.adapters != plain.adapters or wired.sinks != plain.sinks
    commanded = [joint for sink in wired.sinks for joint in sink.names]
    assert sorted(commanded) == sorted(wired.column_names)


@pytest.mark.parametrize("name", WIRINGS)
@given(fraction=st.floats(0.0, 1.0))
@settings(max_examples=30, deadline=None)
def test_what_is_told_and_reported_back_is_the_same(name, fraction):
    spec, all_of_them = translations(name)
    places = {
        joint.name: joint.lower + fraction * (joint.upper - joint.lower) for joint in spec.joints
    }
    places |= {g.name: g.closed + fraction * (g.open - g.closed) for g in spec.grippers}
    scales = {g.name: g.opening_per_joint for g in spec.grippers}
    for adapter, translation in zip(spec.adapters, all_of_them, strict=True):
        back = translation.from_driver(translation.to_driver(places))
        assert set(back) == set(adapter.names)
        for joint, position in back.items():
            assert position * scales.get(joint, 1.0) == pytest.approx(places[joint], abs=1e-12)


def test_grippers_are_in_the_drivers_numbers():
    def told(robot, **openings):
        spec, (first, *_) = translations(robot)
        return first.to_driver({**spec.home, **openings})

    assert told("aloha_piper", left_gripper=0.07)["gripper"] == pytest.approx(0.07)
    assert told("aloha_viperx_interbotix", left_gripper=0.0)["gripper"] == pytest.approx(0.6197)
    assert told("aloha_viperx_interbotix", left_gripper=0.072)["gripper"] == pytest.approx(1.6214)
    assert told("arx5_arx", gripper=0.044)["gripper"] == pytest.approx(2.5)
    # a Robotiq's knuckle is at zero where it is open
    (knuckle,) = told("ur5_robotiq", gripper_left_finger_joint=0.085).items()
    assert knuckle == ("robotiq_85_left_knuckle_joint", pytest.approx(0.0))
    (knuckle,) = told("ur5_robotiq", gripper_left_finger_joint=0.0).items()
    assert knuckle[1] == pytest.approx(0.7929)


def test_arms_keep_their_sides_and_the_order_of_their_joints():
    spec, (left, right) = translations("aloha_viperx_interbotix")
    places = {name: float(index) for index, name in enumerate(spec.joint_names)}
    places |= dict.fromkeys(spec.gripper_names, 0.0)
    order = ["waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate"]
    assert list(left.to_driver(places).items())[:6] == list(zip(order, range(6), strict=True))
    assert list(right.to_driver(places).items())[:6] == list(zip(order, range(6, 12), strict=True))


def test_what_a_driver_does_not_report_is_left_out():
    _, (left, _) = translations("aloha_piper")
    assert left.from_driver({"joint2": 0.5, "joint9": 1.0}) == {"left_joint2": 0.5}


def write(folder, text, name="mine.yaml"):
    path = folder / name
    path.write_text(text)
    return path


def test_a_file_of_ones_own_changes_what_it_names(tmp_path):
    path = write(tmp_path, "extends: wiring/ur5_trajectory\ntitle: the one on the left\n")
    robot = load_robot(path)
    assert robot.title == "the one on the left" and robot.name == "ur5"
    assert robot.sinks[0].kind is SinkKind.FOLLOW_JOINT_TRAJECTORY and robot.adapters
    other = write(tmp_path, "extends: mine.yaml\nspeed_scaling: null\n", "other.yaml")
    assert load_robot(other).title == robot.title and load_robot(other).speed_scaling is None


ADAPTER = """extends: aloha
adapters:
  - kind: {kind}
    states: left/joint_states
    commands: {commands}
    joints: {{{joint}: joint1}}
    gripper: {{name: {gripper}, driver: gripper, closed: 0.0, open: {open}}}
"""
GOOD = {
    "kind": "joint_state",
    "commands": "left/commands",
    "joint": "left_joint1",
    "gripper": "left_gripper",
    "open": "0.07",
}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kind": "carrier_pigeon"}, r":3: adapters\[0\]\.kind: 'carrier_pigeon' is not one of"),
        ({"commands": '""', "kind": "arx"}, "arx needs where to send commands"),
        (
            {"joint": "left_elbow"},
            r":6: adapters\[0\]\.joints\.left_elbow: unknown joint left_elbow",
        ),
        (
            {"gripper": "gripper"},
            r":7: adapters\[0\]\.gripper\.name: unknown gripper gripper; known: l",
        ),
        ({"open": "0.0"}, r"closed and open are both 0; write the driver's number for each"),
        ({"kind": "gripper_command"}, "gripper_command drives a gripper and no joints"),
    ],
)
def test_a_wrong_adapter_is_named(tmp_path, changes, sentence):
    load_robot(write(tmp_path, ADAPTER.format(**GOOD)))
    with pytest.raises(RobotError, match=sentence):
        load_robot(write(tmp_path, ADAPTER.format(**GOOD | changes)))


def test_a_circle_of_files_is_named(tmp_path):
    write(tmp_path, "title: second\nextends: first.yaml\n", "second.yaml")
    with pytest.raises(
        RobotError, match=r"second\.yaml:2: extends: first\.yaml extends this file"
    ):
        load_robot(write(tmp_path, "extends: second.yaml\n", "first.yaml"))


def test_extending_nothing_is_named(tmp_path):
    with pytest.raises(RobotError, match=r"mine\.yaml:1: extends: name one robot, found 7"):
        load_robot(write(tmp_path, "extends: 7\n"))
