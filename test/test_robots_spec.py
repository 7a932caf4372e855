# SPDX-License-Identifier: Apache-2.0
"""A robot's YAML: what is accepted, and file, line, key and remedy for what is not."""

import pytest

from dm0_ros.errors import Dm0Error, RobotError
from dm0_ros.resources import find_resource
from dm0_ros.robots import load_robot
from dm0_ros.robots.description import load_urdf
from dm0_ros.robots.spec import Space

FRANKA = find_resource("config", "franka.yaml").read_text()


def write(folder, *changes):
    """A Franka with each (old, new) changed once in the text of its YAML."""
    text = FRANKA
    for old, new in changes:
        assert old in text, f"franka.yaml has no {old!r} any more"
        text = text.replace(old, new, 1)
    path = folder / "robot.yaml"
    path.write_text(text)
    return path


def line_with(path, mark):
    """Number of the only line that has ``mark`` in it."""
    (number,) = [n for n, line in enumerate(path.read_text().splitlines(), 1) if mark in line]
    return number


def refusal(path):
    with pytest.raises(RobotError) as caught:
        load_robot(path)
    return str(caught.value)


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


UNITS = "units: {length: m, angle: rad, time: s}"
GRIPPER = "{name: fr3_finger_joint1, closed: 0.0, open: 0.08"
ARM = "{name: arm, base: fr3_link0"
CAMERA = "- {slot: high, max_age: 0.3}"
SINK = "    names: [fr3_finger_joint1]"
POSE = "columns: [x, y, z, roll, pitch, yaw, fr3_finger_joint1]"

# what is wrong: old text, new text, a mark in the line that is named, the message behind that line
WRONG = {
    "no units": (UNITS, "", "name: franka", "missing key units; add it"),
    "degrees": ("angle: rad", "angle: deg", "units:", "units.angle: the unit is deg; convert"),
    "millimetres": ("length: m", "length: mm", "units:", "units.length: the unit is mm; convert"),
    "no unit of time": (", time: s", "", "units:", "units: missing key time; add it"),
    "limits reversed": (
        "{name: fr3_joint7, lower: -3.0159, upper: 3.0159",
        "{name: fr3_joint7, lower: 3.0159, upper: -3.0159",
        "{name: fr3_joint7",
        "joints[6].lower: fr3_joint7 reaches from 3.0159 to -3.0159; lower must be below upper",
    ),
    "camera slot twice": (
        CAMERA,
        "- {slot: right_hand, max_age: 0.4}",
        "max_age: 0.4",
        "cameras[1]: camera slot right_hand appears twice; keep one",
    ),
    "gripper range empty": (
        GRIPPER,
        GRIPPER.replace("0.0,", "0.08,"),
        GRIPPER[:20],
        "grippers[0].closed: fr3_finger_joint1 opens from 0.08 to 0.08 m; closed must be below",
    ),
    "unknown joint in home": (
        "home: {fr3_joint1",
        "home: {elbow",
        "home:",
        "home.elbow: unknown joint or gripper elbow; known: fr3_joint1, fr3_joint2",
    ),
    "unknown joint in a sink": (
        SINK,
        "    names: [elbow]",
        "[elbow]",
        "sinks[1].names[0]: unknown joint or gripper elbow; known: fr3_joint1",
    ),
    "unknown joint in a layout": (
        "columns: [fr3_joint1",
        "columns: [elbow",
        "[elbow",
        "layouts.joint.columns[0]: unknown column of joint_position elbow; known: fr3_joint1",
    ),
    "unknown joint among the gains": (
        "stiffness: {fr3_joint1",
        "stiffness: {elbow",
        "stiffness:",
        "simulation.stiffness.elbow: unknown joint or gripper elbow",
    ),
    "joint that the URDF lacks": (
        "variant: fr3",
        "variant: fer",
        "{name: fr3_joint1,",
        "joints[0].name: {urdf} has no joint fr3_joint1; its joints are fer_joint1",
    ),
    "link that the URDF lacks": (
        "tip: fr3_link8",
        "tip: fr3_link9",
        "tip: fr3_link9",
        "end_effectors[0].tip: {urdf} has no link fr3_link9; its links are ",
    ),
    "link of a camera": (
        "link: fr3_hand}",
        "link: hand}",
        "link: hand}",
        "simulation.cameras.left_hand.link: {urdf} has no link hand; its links are ",
    ),
    "URDF that is not there": (
        "file: franka.urdf.xacro",
        "file: r2d2.urdf",
        "file: r2d2.urdf",
        "urdf.file: there is no such file in {folder}, beside the YAML. No 'r2d2.urdf' among",
    ),
    "key that is not known": (
        "executor:",
        "exekutor:",
        "exekutor:",
        "exekutor: unknown key exekutor; known keys are name, title, units",
    ),
    "key of a joint missing": (
        ", jerk: 5000.0",
        "",
        "{name: fr3_joint1,",
        "joints[0]: missing key jerk; add it",
    ),
    "number that is none": (
        "  rate: 100.0",
        "  rate: fast",
        "rate: fast",
        "executor.rate: expected a number, found 'fast'",
    ),
    "key twice": (
        "  blend_time: 0.3",
        "  rate: 90.0",
        "rate: 90.0",
        "is not valid YAML: rate stands in line {rate} already; keep one of the two",
    ),
    "velocity": ("velocity: 0.4", "velocity: 0.0", GRIPPER, "grippers[0].velocity: must be pos"),
    "picture's age": ("max_age: 0.3", "max_age: 0.0", "e: 0.0}", "cameras[0].max_age: must be"),
    "rate": ("rate: 100.0", "rate: 0.0", "rate: 0.0", "executor.rate: must be positive, found 0"),
    "blend": ("d_time: 0.3", "d_time: -1.0", "d_time:", "executor.blend_time: must not be neg"),
    "effort": (SINK, SINK + "\n    effort: -1.0", "effort", "sinks[1].effort: must not be neg"),
    "physics": (
        "physics_step: 0.002",
        "physics_step: 0.0",
        "physics_step",
        "simulation.physics_s",
    ),
    "camera that looks along its up": (
        "up: [1.0, 0.0, 0.0]",
        "up: [-0.04, 0.0, 0.2]",
        "up: [-0.04",
        "simulation.cameras.left_hand.up: up lies along the line to the target",
    ),
    "speed of nothing": (
        "executor:",
        "speed_scaling: {topic: s, full: 0.0}\nexecutor:",
        "speed_scaling:",
        "speed_scaling.full: must be positive",
    ),
    "joint twice": (
        "{name: fr3_joint7",
        "{name: fr3_joint6",
        "{name: fr3_joint6, lower: -3",
        "joints[6]: joint fr3_joint6 appears twice; keep one",
    ),
    "gripper that is a joint": (
        GRIPPER,
        GRIPPER.replace("finger_joint1", "joint1"),
        "{name: fr3_joint1, closed",
        "grippers[0].name: fr3_joint1 is among the joints too",
    ),
    "end effector twice": (
        "  - " + ARM,
        "  - {name: arm, base: fr3_link0, tip: fr3_link8, tool: fr3_link8}\n  - " + ARM,
        "tool: fr3_hand_tcp",
        "end_effectors[1]: end effector arm appears twice; keep one",
    ),
    "joint without home": (
        "fr3_joint4: -2.550865, ",
        "",
        "home:",
        "home: lacks the position of fr3_joint4; add it",
    ),
    "home out of reach": (
        "fr3_joint4: -2.550865",
        "fr3_joint4: 2.5",
        "home:",
        "home.fr3_joint4: 2.5 is outside of the limits, -3.0421 to -0.1518; correct one of them",
    ),
    "gain missing": (
        "fr3_joint7: 200.0, fr3_finger_joint1: 50.0",
        "fr3_finger_joint1: 50.0",
        "damping:",
        "simulation.damping: lacks the gain of fr3_joint7; add it",
    ),
    "sink of nothing": (SINK, "    names: []", "names: []", "sinks[1].names: gripper_controller/"),
    "joint in a pose sink": (
        "- kind: forward_position",
        "- kind: pose",
        "    names: [fr3_joint1",
        "sinks[0].names[0]: unknown end effector fr3_joint1; known: arm",
    ),
    "two in a gripper action": (
        "  - kind: forward_position\n    topic: gripper_controller/commands\n" + SINK,
        "  - kind: gripper_command\n    topic: g\n    names: [fr3_finger_joint1, fr3_joint1]",
        "[fr3_finger_joint1, fr3_joint1]",
        "sinks[1].names[1]: unknown gripper fr3_joint1; known: fr3_finger_joint1",
    ),
    "space": (": joint_position", ": torque", ": torque", "layouts.joint.space: 'torque' is not"),
    "half a pose": (
        POSE,
        POSE.replace("z, ", ""),
        "[x, y, roll",
        "layouts.pose.columns: lacks arm's z; add it",
    ),
    "no pose at all": (
        POSE,
        "columns:  [fr3_finger_joint1]",
        "columns:  [",
        "layouts.pose.columns: has no end effector's pose; add one",
    ),
    "velocity of no base": (
        POSE,
        POSE.replace("yaw, ", "yaw, vx, "),
        "yaw, vx",
        "layouts.pose.columns[6]: unknown column of eef_pose vx; known: x, y, z",
    ),
    "column twice": (
        POSE,
        POSE.replace("z, ", "z, z, "),
        "z, z",
        "layouts.pose.columns[3]: column z appears twice; keep one",
    ),
    "absolute column": (
        "absolute: [fr3_finger_joint1]",
        "absolute: [finger]",
        "absolute: [finger]",
        "layouts.joint.absolute[0]: unknown column finger; known: fr3_joint1",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_with_file_line_key_and_remedy(tmp_path, name):
    old, new, mark, message = WRONG[name]
    path = write(tmp_path, (old, new))
    told = message.format(
        urdf=find_resource("urdf", "franka.urdf.xacro"),
        folder=tmp_path,
        rate=line_with(path, "rate: 100.0") if name == "key twice" else 0,
    )
    assert refusal(path).startswith(f"{path}:{line_with(path, mark)}: {told}")


def test_unknown_robot_says_where_it_looked():
    with pytest.raises(Dm0Error, match=r"No 'r2d2\.yaml'.*Looked in: .*config"):
        load_robot("r2d2")


def test_unknown_layout_lists_the_known():
    with pytest.raises(RobotError, match="no layout 'torque'; its layouts are joint, pose"):
        load_robot("franka").layout("torque")


def test_a_urdf_beside_the_yaml_comes_before_the_packages_own(tmp_path):
    path = write(tmp_path)
    assert load_robot(path).urdf.file == str(find_resource("urdf", "franka.urdf.xacro"))
    own = tmp_path / "franka.urdf.xacro"
    own.write_text(load_urdf(load_robot("franka")))
    assert load_robot(path).urdf.file == str(own)
    own.write_text("<robot")
    assert refusal(path).startswith(
        f"{path}:{line_with(path, 'urdf:')}: urdf: {own}: xacro cannot expand it: "
    )
