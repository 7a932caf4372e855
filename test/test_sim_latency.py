# SPDX-License-Identifier: Apache-2.0
"""How far simulated arms are behind their commands, and that the executor is told so."""

from dataclasses import replace

import numpy as np
import pytest

from dm0_ros.errors import RobotError
from dm0_ros.robots import load_robot
from dm0_ros.robots.loading import as_simulated
from dm0_ros.sim.simulator import Simulator

SPEED = 0.3  # rad/s


@pytest.mark.parametrize("name", ["franka", "ur5"])
def test_a_simulated_arm_is_where_it_was_told_to_be_a_latency_ago(name):
    robot = as_simulated(load_robot(name))
    latency, dt = robot.executor.actuation_latency, 0.01
    home = np.array([robot.home[joint] for joint in robot.joint_names])
    simulator = Simulator(robot)
    try:
        simulator.reset(0)
        for tick in range(1, 81):
            simulator.command(robot.joint_names, home + SPEED * dt * tick)
            simulator.step(dt)
        measured = simulator.measured()
    finally:
        simulator.close()
    moved = np.array([measured[joint] for joint in robot.joint_names]) - home
    np.testing.assert_allclose(0.8 - moved / SPEED, latency, atol=0.02)


def test_its_latencies_stand_in_for_the_real_ones():
    robot = load_robot("franka")
    slow = replace(robot.executor, observation_latency=0.03, actuation_latency=0.2)
    simulated = as_simulated(replace(robot, executor=slow)).executor
    assert simulated.observation_latency == 0.0
    assert simulated.actuation_latency == simulated.gripper_latency == pytest.approx(0.1)
    assert replace(simulated, actuation_latency=0, gripper_latency=0) == robot.executor


def test_a_robot_that_cannot_be_simulated_has_none():
    with pytest.raises(RobotError, match="franka: its YAML has no 'simulation' section"):
        as_simulated(replace(load_robot("franka"), simulation=None))
