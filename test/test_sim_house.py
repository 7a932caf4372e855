# SPDX-License-Identifier: Apache-2.0
"""The house in MuJoCo: a camera that sees what stands where, and a base with limits."""

import math
from dataclasses import replace

import numpy as np
import pytest
from houses import make_house

from dm0_ros.errors import RobotError
from dm0_ros.navigation.objectnav import Action, Episode, ObjectNav, Rules
from dm0_ros.robots import load_robot
from dm0_ros.robots.base import Drive
from dm0_ros.sim.house_scene import HouseCamera
from dm0_ros.sim.house_simulator import HouseSimulator

ROBOT = load_robot("mobile_base")
HOLONOMIC = replace(ROBOT, base=replace(ROBOT.base, drive=Drive.HOLONOMIC))
RULES = Rules()


@pytest.fixture
def simulator():
    simulator = HouseSimulator(ROBOT, make_house())
    simulator.arrange((1.0, 2.0, 0.0))
    yield simulator
    simulator.close()


def test_depth_is_metres_along_the_optical_axis(simulator):
    depth = simulator.look("front", want_depth=True).depth
    assert depth.shape == (480, 640)
    # the box is 0.8 m high and the eye at 0.88: over it, the wall's face at x = 5.9 is seen
    assert depth[240, 320] == pytest.approx(4.9, abs=0.02)
    # the box's face at x = 2.8; a row of 0.3 m below the eye at 1.8 m
    focal = 240 / math.tan(RULES.vertical_field_of_view / 2)
    row = round(240 + focal * 0.3 / 1.8)
    assert depth[row, 320] == pytest.approx(1.8, abs=0.02)
    # the floor at the bottom row
    assert depth[479, 320] == pytest.approx(
        0.88 / math.tan(RULES.vertical_field_of_view / 2), abs=0.02
    )


def test_the_box_is_where_it_should_be_in_the_picture(simulator):
    picture = simulator.look("front").colour.astype(int)
    red = picture[..., 0] > 2 * picture[..., 1] + 30
    columns = np.flatnonzero(red.any(0))
    focal = 320 / math.tan(RULES.field_of_view / 2)
    half = focal * 0.2 / 1.8
    assert columns.min() == pytest.approx(320 - half, abs=3)
    assert columns.max() == pytest.approx(320 + half, abs=3)
    simulator.arrange((1.0, 2.0, math.pi))
    away = simulator.look("front").colour.astype(int)
    assert not (away[..., 0] > 2 * away[..., 1] + 30).any()


def test_a_tilt_looks_up_or_down():
    camera = HouseCamera(make_house(), 64, 48, 1.1)
    try:
        ahead, down = (
            camera.look((1.0, 2.0, 0.88), 0.0, tilt, want_depth=True).depth[24, 32]
            for tilt in (0.0, -math.pi / 6)
        )
    finally:
        camera.close()
    assert ahead == pytest.approx(4.9, abs=0.1)
    # half a metre over 30 degrees: the floor at 1.76 m, before the box is reached
    assert down == pytest.approx(1.76, abs=0.05)


def test_objectnav_looks_through_the_simulators_camera():
    camera = HouseCamera(make_house(), 640, 480, RULES.vertical_field_of_view)

    def look(position, yaw, tilt):
        view = camera.look(position, yaw, tilt, want_depth=True)
        return view.colour, view.depth

    task = ObjectNav(make_house(), look=look)
    task.begin(Episode("box", (1.0, 2.0, 0.0)))
    task.step(Action.MOVE_FORWARD)
    percept = task.observe()
    camera.close()
    assert percept.colour.shape == (480, 640, 3) and percept.depth.shape == (480, 640, 1)
    assert percept.depth[240, 320, 0] == pytest.approx((4.65 - 0.5) / 4.5, abs=0.01)


def drive(simulator, twist, seconds):
    for _ in range(round(seconds / 0.1)):
        simulator.command(twist)
        simulator.step(0.1)


def test_it_drives_with_limited_acceleration(simulator):
    drive(simulator, (0.4, 0.0, 0.0), 0.4)
    assert simulator.twist[0] == pytest.approx(0.2)
    drive(simulator, (0.4, 0.0, 0.0), 1.6)
    # 0.8 s of acceleration at half the speed, then 1.2 s
    assert simulator.travelled == pytest.approx(0.16 + 0.48, abs=0.01)
    assert simulator.odometry().pose == pytest.approx([0.64, 0.0, 0.0], abs=0.01)


def test_odometry_begins_where_the_base_does(simulator):
    simulator.arrange((1.0, 1.0, math.pi / 2))
    drive(simulator, (0.3, 0.0, 0.0), 2.0)
    assert simulator.pose[0] == pytest.approx(1.0) and simulator.pose[1] > 1.4
    pose = simulator.odometry().pose
    assert pose[0] == pytest.approx(simulator.pose[1] - 1.0) and pose[1:] == pytest.approx([0, 0])


def test_it_stops_when_no_one_commands(simulator):
    drive(simulator, (0.4, 0.0, 0.0), 1.5)
    simulator.step(ROBOT.base.command_timeout + 1.0)
    assert not np.any(simulator.twist)
    where = simulator.pose.copy()
    simulator.step(1.0)
    assert simulator.pose == pytest.approx(where)


def test_it_does_not_drive_through_things(simulator):
    drive(simulator, (0.5, 0.0, 0.0), 6.0)
    assert simulator.pose[:2] == pytest.approx([2.8 - 0.18, 2.0], abs=1e-3)
    assert simulator.bumps == 1 and simulator.twist[0] < 0.01
    drive(simulator, (-0.5, 0.0, 0.0), 2.0)
    assert simulator.pose[0] < 2.2


def test_only_a_holonomic_base_goes_sideways(simulator):
    with pytest.raises(RobotError, match="mobile_base cannot drive sideways"):
        simulator.command((0.0, 0.2, 0.0))
    other = HouseSimulator(HOLONOMIC, make_house())
    other.arrange((1.0, 1.0, 0.0))
    drive(other, (0.0, 0.3, 0.0), 2.0)
    assert other.pose[1] > 1.4 and other.pose[0] == pytest.approx(1.0)


@pytest.mark.parametrize("twist", [(math.nan, 0.0, 0.0), (0.0, 0.0), (math.inf, 0.0, 0.0)])
def test_commands_that_are_no_velocities(simulator, twist):
    with pytest.raises(RobotError, match="three finite numbers"):
        simulator.command(twist)


def test_places_repeat_by_seed(simulator):
    poses = []
    for seed in (3, 4, 3):
        simulator.reset(seed)
        poses.append(simulator.pose)
    assert poses[0] == pytest.approx(poses[2]) and not np.allclose(poses[0], poses[1])


def test_what_cannot_be_simulated():
    with pytest.raises(RobotError, match="needs a robot with a base"):
        HouseSimulator(load_robot("franka"))
    with pytest.raises(RobotError, match="does not fit"):
        HouseSimulator(ROBOT, make_house()).arrange((3.0, 2.0, 0.0))
