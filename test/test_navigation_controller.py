# SPDX-License-Identifier: Apache-2.0
"""The base's controller in closed loop with the kinematic base, and what stops it."""

import math
from dataclasses import replace

import numpy as np
import pytest
from houses import make_house
from hypothesis import given, settings
from hypothesis import strategies as some

from dm0_ros.errors import PlanError
from dm0_ros.navigation.controller import BaseController, Fix, State
from dm0_ros.navigation.limits import approach_twist
from dm0_ros.navigation.routes import Route, Velocities
from dm0_ros.robots import load_robot
from dm0_ros.robots.base import Drive
from dm0_ros.sim.house_simulator import HouseSimulator

ROBOT = load_robot("mobile_base")
HOLONOMIC = replace(ROBOT, base=replace(ROBOT.base, drive=Drive.HOLONOMIC))
DT = 0.05
HOUSE = make_house()


class Loop:
    """A controller, and a base that does what it says."""

    def __init__(self, robot=ROBOT, pose=(1.0, 1.0, 0.5)):
        self.simulator = HouseSimulator(robot, HOUSE)
        self.simulator.arrange(pose)
        self.controller = BaseController(robot.base, 0.5)
        self.twists = [np.zeros(3)]
        self.hears = True

    @property
    def fix(self):
        return Fix(self.simulator.odometry().pose, self.simulator.time)

    def tick(self):
        if self.hears:
            self.controller.note(self.fix)
        self.twists.append(self.controller.tick(self.simulator.time).copy())
        self.simulator.command(self.twists[-1])
        self.simulator.step(DT)

    def run(self, motion, ticks=600):
        self.controller.note(self.fix)
        self.controller.drive(motion, self.fix)
        for _ in range(ticks):
            self.tick()
            if self.controller.state is not State.DRIVING and not np.any(self.twists[-1]):
                break
        return self.controller

    def check_limits(self, robot=ROBOT):
        twists, base = np.array(self.twists), robot.base
        assert np.linalg.norm(twists[:, :2], axis=1).max() <= base.velocity + 1e-9
        assert np.abs(twists[:, 2]).max() <= base.turn_velocity + 1e-9
        changes = np.diff(twists, axis=0) / DT
        assert np.linalg.norm(changes[:, :2], axis=1).max() <= base.acceleration + 1e-9
        assert np.abs(changes[:, 2]).max() <= base.turn_acceleration + 1e-9


@pytest.mark.parametrize("robot", [ROBOT, HOLONOMIC], ids=["differential", "holonomic"])
@pytest.mark.parametrize(
    "pose", [(0.75, 0, 0), (0, 0, math.radians(30)), (0, 0, -0.8), (0.8, 0.4, 0.6), (-0.3, 0.2, 0)]
)
def test_it_arrives(robot, pose):
    loop = Loop(robot)
    controller = loop.run(Route(np.array([pose], float)))
    assert (controller.state, controller.reason) == (State.ARRIVED, "at the end of the route")
    loop.check_limits(robot)
    reached = loop.simulator.odometry().pose
    assert reached[:2] == pytest.approx(pose[:2], abs=0.08)
    assert reached[2] == pytest.approx(pose[2], abs=0.1)


def test_a_holonomic_base_drives_sideways_without_turning():
    loop = Loop(HOLONOMIC)
    loop.run(Route(np.array([(0.0, 0.6, 0.0)])))
    assert np.abs(np.array(loop.twists)[:, 2]).max() < 0.01
    assert loop.simulator.odometry().pose == pytest.approx([0.0, 0.6, 0.0], abs=0.05)


def test_velocities_are_played_in_time():
    loop = Loop()
    rows = np.array([(0.4, 0.0, 0.0)] * 4 + [(0.0, 0.0, 0.8)] * 4)
    controller = loop.run(Velocities(0.25, rows))
    assert (controller.state, controller.reason) == (
        State.ARRIVED,
        "the plan's velocities are over",
    )
    loop.check_limits()
    pose = loop.simulator.odometry().pose
    assert pose[2] == pytest.approx(0.8, abs=0.1) and math.hypot(*pose[:2]) > 0.3


def test_velocities_that_are_over_are_left_out():
    loop = Loop()
    loop.simulator.step(0.5)
    loop.controller.note(loop.fix)
    rows = np.array([(0.0, 0.0, 1.0)] * 2 + [(0.3, 0.0, 0.0)] * 2)
    loop.controller.drive(Velocities(0.25, rows), Fix(loop.fix.pose, 0.0))
    for _ in range(20):
        loop.tick()
    assert np.abs(np.array(loop.twists)[:, 2]).max() == 0.0
    assert loop.simulator.travelled > 0.05


def test_a_new_motion_takes_over_within_the_limits():
    loop = Loop()
    for angle in (0.0, 1.2, -2.0, 3.0):
        loop.controller.note(loop.fix)
        end = (0.6 * math.cos(angle), 0.6 * math.sin(angle), angle)
        loop.controller.drive(Route(np.array([end])), loop.fix)
        for _ in range(15):
            loop.tick()
    loop.check_limits()


def test_old_odometry_stops_the_base_and_is_named():
    loop = Loop(pose=(0.6, 1.0, 0.0))
    loop.run(Route(np.array([(4.0, 0.0, 0.0)])), ticks=20)
    loop.hears = False
    for _ in range(40):
        loop.tick()
    assert loop.controller.state is State.STOPPED
    assert "the last odometry is 0.5" in loop.controller.reason
    assert not np.any(loop.twists[-1])
    loop.check_limits()
    # nothing goes on by itself when odometry is back
    loop.hears = True
    for _ in range(10):
        loop.tick()
    assert not np.any(loop.twists[-1]) and loop.controller.state is State.STOPPED


def test_no_odometry_at_all():
    controller = BaseController(ROBOT.base, 0.5)
    controller.drive(Route(np.array([(1.0, 0.0, 0.0)])), Fix(np.zeros(3), 0.0))
    assert not np.any(controller.tick(0.1))
    assert controller.reason == "there is no odometry yet"


def test_a_wall_is_noticed():
    loop = Loop(pose=(4.5, 1.0, 0.0))
    controller = loop.run(Route(np.array([(3.0, 0.0, 0.0)])))
    assert controller.state is State.STOPPED
    assert controller.reason.startswith("blocked: told to move")
    assert loop.simulator.bumps == 1
    assert loop.simulator.pose[0] == pytest.approx(6.0 - 0.1 - 0.18, abs=1e-3)


@pytest.mark.parametrize(
    "motion", [Route(np.empty((0, 3))), Velocities(0.25, np.zeros((4, 3)))], ids=["route", "rows"]
)
def test_a_motion_that_says_stop(motion):
    loop = Loop(pose=(0.6, 1.0, 0.0))
    loop.run(Route(np.array([(4.0, 0.0, 0.0)])), ticks=30)
    assert loop.twists[-1][0] > 0.3
    loop.run(motion)
    assert (loop.controller.state, loop.controller.reason) == (
        State.STOPPED,
        "the plan says stop",
    )
    loop.check_limits()


def test_a_stop_from_outside_has_its_reason():
    loop = Loop(pose=(0.6, 1.0, 0.0))
    loop.run(Route(np.array([(4.0, 0.0, 0.0)])), ticks=30)
    loop.controller.stop("cancelled")
    for _ in range(40):
        loop.tick()
    assert not np.any(loop.twists[-1]) and loop.controller.reason == "cancelled"
    loop.check_limits()


def test_odometry_that_is_no_number():
    with pytest.raises(PlanError, match="odometry is not finite"):
        BaseController(ROBOT.base, 0.5).note(Fix(np.array([0.0, math.nan, 0.0]), 0.0))


NUMBERS = some.floats(-5.0, 5.0)
TWISTS = some.tuples(NUMBERS, NUMBERS, NUMBERS).map(np.array)


@settings(deadline=None)
@given(some.lists(TWISTS, min_size=1, max_size=30), some.floats(0.001, 0.2))
def test_any_sequence_of_wishes_stays_within_the_limits(wishes, dt):
    base, twist = HOLONOMIC.base, np.zeros(3)
    for wish in wishes:
        after = approach_twist(twist, wish, base, dt)
        assert np.linalg.norm(after[:2]) <= base.velocity + 1e-9
        assert abs(after[2]) <= base.turn_velocity + 1e-9
        assert np.linalg.norm((after - twist)[:2]) <= base.acceleration * dt + 1e-9
        assert abs((after - twist)[2]) <= base.turn_acceleration * dt + 1e-9
        twist = after
