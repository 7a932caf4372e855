# SPDX-License-Identifier: Apache-2.0
"""Grippers: on time, no faster than they can, and quiet."""

from dataclasses import replace

import numpy as np
import pytest
from control_samples import HOME, ROBOT

from dm0_ros.control.grippers import Grippers
from dm0_ros.control.plan import Plan
from dm0_ros.robots.spec import GripperMode

DT = 0.01


def make(**changes):
    gripper = replace(ROBOT.grippers[0], **changes)
    grippers = Grippers(replace(ROBOT, grippers=(gripper,)))
    grippers.begin(np.array([0.02]))
    return grippers


def plan(openings, step=0.1):
    values = np.tile(HOME, (len(openings), 1))
    values[:, 7] = openings
    return Plan(1, 0.0, step, values)


def run(grippers, seconds, start=0.0):
    path = []
    for index in range(round(seconds / DT)):
        grippers.step(start + (index + 1) * DT, DT)
        path.append(float(grippers.positions[0]))
    return np.array(path)


def test_goes_straight_from_row_to_row():
    grippers = make()
    grippers.follow(plan([0.02, 0.03, 0.04]), 0.0)
    path = run(grippers, 0.5)
    np.testing.assert_allclose(path[:20], 0.02 + 0.001 * np.arange(1, 21))
    np.testing.assert_allclose(path[20:], 0.04)
    assert grippers.still and not grippers.limited()


def test_moves_no_faster_than_it_can_and_says_so():
    grippers = make(velocity=0.1)
    grippers.follow(plan([0.08, 0.08]), 0.0)
    path = run(grippers, 0.5)
    np.testing.assert_allclose(path[:50], 0.02 + 0.1 * DT * np.arange(1, 51))
    assert grippers.limited() == ("fr3_finger_joint1: velocity",)
    assert grippers.velocities == pytest.approx([0.1])
    np.testing.assert_allclose(run(grippers, 0.5, 0.5)[-1], 0.08)
    assert grippers.limited() == () and grippers.still


def test_holds_rows_and_ignores_small_changes_where_told_so():
    grippers = make(mode=GripperMode.HOLD, velocity=10.0)
    grippers.follow(plan([0.02, 0.06]), 0.0)
    path = run(grippers, 0.3)
    np.testing.assert_allclose(path[:9], 0.02)
    np.testing.assert_allclose(path[10:], 0.06)
    grippers = make(hysteresis=0.005)
    jitter = 0.02 + 0.004 * np.sign(np.sin(np.arange(20)))
    grippers.follow(plan(jitter), 0.0)
    np.testing.assert_array_equal(run(grippers, 2.0), 0.02)


def test_a_plan_counts_from_its_time_on_and_staying_forgets_it():
    grippers = make()
    grippers.follow(plan([0.05, 0.05]), 0.1)
    path = run(grippers, 0.12)
    np.testing.assert_allclose(path[:9], 0.02)
    assert path[-1] > 0.02
    assert grippers.wanted(0.2) == pytest.approx([0.05])
    grippers.stay()
    np.testing.assert_array_equal(run(grippers, 0.2, 0.12), path[-1])
    assert grippers.wanted(0.2) == pytest.approx([path[-1]])


def test_a_robot_without_any_is_fine():
    home = {name: ROBOT.home[name] for name in ROBOT.joint_names}
    bare = {"grippers": (), "home": home, "sinks": (), "layouts": {}, "simulation": None}
    grippers = Grippers(replace(ROBOT, **bare))
    grippers.step(0.1, DT)
    assert grippers.still and grippers.limited() == () and len(grippers.positions) == 0
