# SPDX-License-Identifier: Apache-2.0
"""A base as data: what the YAML may say, and a URDF that agrees with it."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from dm0_ros.errors import RobotError
from dm0_ros.robots import load_robot
from dm0_ros.robots.base import Drive, VelocityMessage, Wheels
from dm0_ros.robots.kinematics import load_urdf
from dm0_ros.robots.layouts import Space

ROBOT = load_robot("mobile_base")


def test_the_base_of_the_yaml():
    base = ROBOT.base
    assert base.drive is Drive.DIFFERENTIAL and not base.holonomic
    assert base.command is VelocityMessage.TWIST
    assert base.radius == 0.18  # that of ObjectNav's agent
    assert ROBOT.column_names == ()
    assert ROBOT.layout("velocity").space is Space.BASE_TWIST


def test_arms_have_no_base():
    assert load_robot("franka").base is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"radius": 0.0}, "radius: must be positive, found 0"),
        ({"velocity": -1.0}, "velocity: must be positive, found -1"),
        ({"turn_acceleration": 0.0}, "turn_acceleration: must be"),
        ({"command_timeout": 0.0}, "command_timeout: must be"),
        ({"frame": "odom"}, "odometry_frame: is odom, as frame is"),
    ],
)
def test_nonsense_is_refused(change, says):
    with pytest.raises(RobotError, match=says):
        replace(ROBOT.base, **change)
    with pytest.raises(RobotError, match="separation: must be positive, found 0"):
        Wheels(0.05, 0.0)


@pytest.mark.parametrize(("drive", "wheels"), [("differential", 2), ("holonomic", 4)])
def test_the_urdf_has_the_base_that_the_yaml_has(drive, wheels):
    urdf = replace(ROBOT.urdf, arguments={"drive": drive})
    root = ElementTree.fromstring(load_urdf(replace(ROBOT, urdf=urdf)))
    joints = root.findall("joint")
    assert sum(joint.get("type") == "continuous" for joint in joints) == wheels
    children = {joint.find("child").get("link") for joint in joints}
    (top,) = {link.get("name") for link in root.findall("link")} - children
    assert top == ROBOT.base.frame
    body = next(link for link in root.findall("link") if link.get("name") == "body")
    assert float(body.find(".//cylinder").get("radius")) == ROBOT.base.radius
    (mount,) = [joint for joint in joints if joint.get("name") == "camera_front_joint"]
    place = [float(number) for number in mount.find("origin").get("xyz").split()]
    assert place == list(ROBOT.simulation.cameras["front"].position)
