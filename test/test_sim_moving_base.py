# SPDX-License-Identifier: Apache-2.0
"""Arms on a base: rows of 16 and 17 columns drive both, within the limits of both."""

import numpy as np
import pytest

from dm0_ros.errors import RobotError
from dm0_ros.robots import load_robot
from dm0_ros.sim.simulator import Simulator

# m: a body of 70 kg is 14 ms behind its velocity servos of 5000 N s/m
_LAG = 5e-3
DIFFERENTIAL, HOLONOMIC = load_robot("mobile_aloha"), load_robot("mobile_aloha_holonomic")


@pytest.fixture(scope="module", params=[DIFFERENTIAL, HOLONOMIC], ids=lambda spec: spec.name)
def simulator(request):
    simulator = Simulator(request.param, seed=3)
    yield simulator
    simulator.close()


def drive(simulator, seconds, **velocities):
    """Repeat a row of the layout `mobile`: arms at home, and these velocities."""
    spec = simulator.spec
    columns = spec.layout("mobile").columns
    wanted = {**spec.home, **dict.fromkeys(columns, 0.0), **spec.home, **velocities}
    for _ in range(round(seconds / 0.1)):
        simulator.command(columns, [wanted[column] for column in columns])
        simulator.step(0.1)


def place(simulator):
    return simulator.base.pose(simulator.data)


@pytest.mark.parametrize(("spec", "count"), [(DIFFERENTIAL, 16), (HOLONOMIC, 17)])
def test_layouts_are_those_of_pi0(spec, count):
    layout = spec.layout("mobile")
    assert len(layout.columns) == count and len(layout.state_columns) == 14
    assert set(layout.columns) - set(layout.absolute) == set(spec.joint_names)


def test_without_velocities_it_stays(simulator):
    simulator.reset(seed=0)
    drive(simulator, 1.0)
    np.testing.assert_allclose(place(simulator), 0.0, atol=1e-6)


def test_it_drives_ahead_as_it_faces(simulator):
    simulator.reset(seed=0)
    base = simulator.base
    drive(simulator, 2.0, vx=0.2)
    # 0.4 s to speed up at 0.5 m/s2
    np.testing.assert_allclose(place(simulator), [0.36, 0.0, 0.0], atol=_LAG)
    drive(simulator, 0.5)
    drive(simulator, 3.0, wz=0.5)
    drive(simulator, 1.0)
    x, y, yaw = place(simulator)
    assert yaw == pytest.approx(1.5, abs=0.01) and not base.twist.any()
    drive(simulator, 2.0, vx=0.2)
    moved = place(simulator)[:2] - [x, y]
    np.testing.assert_allclose(moved, 0.36 * np.array([np.cos(yaw), np.sin(yaw)]), atol=_LAG)


def test_only_a_holonomic_base_drives_sideways(simulator):
    simulator.reset(seed=0)
    if simulator.spec is HOLONOMIC:
        drive(simulator, 2.0, vy=0.2)
        np.testing.assert_allclose(place(simulator), [0.0, 0.36, 0.0], atol=_LAG)
        return
    with pytest.raises(RobotError, match="cannot drive sideways; vy must be 0"):
        simulator.command(["vy"], [0.1])


def test_arms_hold_and_grippers_move_meanwhile(simulator):
    simulator.reset(seed=0)
    drive(simulator, 2.0, vx=-0.4, wz=0.3, left_gripper=0.06, right_waist=0.2)
    wanted = {**simulator.spec.home, "left_gripper": 0.06, "right_waist": 0.2}
    for name, value in simulator.measured().items():
        assert value == pytest.approx(wanted[name], abs=5e-3)


def test_it_keeps_its_limits_and_stops_without_commands(simulator):
    simulator.reset(seed=0)
    base = simulator.spec.base
    drive(simulator, 3.0, vx=-9.0, wz=9.0)
    np.testing.assert_allclose(simulator.base.twist, [-base.velocity, 0.0, base.turn_velocity])
    simulator.step(base.command_timeout + 2.0)
    assert not simulator.base.twist.any()
    still = place(simulator)
    simulator.step(0.5)
    np.testing.assert_allclose(place(simulator), still, atol=1e-4)


def test_reset_brings_it_back_and_still(simulator):
    simulator.reset(seed=0)
    drive(simulator, 1.0, vx=-0.5)
    simulator.reset(seed=0)
    assert not place(simulator).any()
    simulator.step(0.5)
    np.testing.assert_allclose(place(simulator), 0.0, atol=1e-6)


def test_cameras_drive_along(simulator):
    simulator.reset(seed=0)
    before = simulator.render("high").astype(int)
    drive(simulator, 2.0, vx=-0.4)
    after = simulator.render("high").astype(int)
    assert np.abs(after - before).mean() > 3.0


def test_a_robot_without_a_base_knows_no_velocity():
    simulator = Simulator(load_robot("aloha_viperx"), seed=0)
    assert simulator.base is None
    with pytest.raises(RobotError, match="unknown joint 'vx'"):
        simulator.command(["vx"], [0.1])
    simulator.close()
