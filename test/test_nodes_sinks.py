# SPDX-License-Identifier: Apache-2.0
"""When windows and goals are due, without a graph."""

import sys

import numpy as np
import pytest

pytest.importorskip("rclpy")

from dm0_ros.control import SetPoint
from dm0_ros.errors import RobotError
from dm0_ros.nodes.sinks.goals import find_action
from dm0_ros.nodes.sinks.windows import Windows
from dm0_ros.nodes.stamps import to_seconds
from dm0_ros.robots.spec import Sink, SinkKind

NAMES = ("a", "b", "hand")
SINK = Sink(SinkKind.JOINT_TRAJECTORY, "topic", ("b", "a"))
FOLLOW = Sink(SinkKind.FOLLOW_JOINT_TRAJECTORY, "arm/follow", ("a",))
TICK = 0.01


class Motion:
    """Two joints that swing, and what was foreseen of them."""

    def __init__(self):
        self.offset = 0.0

    def at(self, time):
        phase = np.array([time, 2 * time, 0.0])
        speed = np.array([1.0, 2.0, 0.0])
        sine, cosine = np.sin(phase), np.cos(phase)
        place = sine + np.array([self.offset, 0, 0])
        return SetPoint(time, place, speed * cosine, -speed * speed * sine)

    def preview(self, time):
        return lambda spacing, count: [self.at(time + spacing * (i + 1)) for i in range(count + 1)]


def windows_of(motion, windows, times):
    found = {}
    for time in times:
        window = windows.due(motion.at(time), motion.preview(time))
        if window is not None:
            found[round(time, 3)] = window
    return found


def test_windows_renew_ten_times_a_second_while_they_hold():
    times = np.arange(0, 1, TICK) + 1000
    found = windows_of(Motion(), Windows(SINK, NAMES), times)
    assert 9 <= len(found) <= 11
    first = found[1000.0]
    assert first.joint_names == ["b", "a"]
    assert to_seconds(first.header.stamp) == 1000.0
    point = first.points[0]
    expected = Motion().at(1000.05)
    np.testing.assert_allclose(point.positions, expected.positions[[1, 0]])
    np.testing.assert_allclose(point.velocities, expected.velocities[[1, 0]])
    np.testing.assert_allclose(point.accelerations, expected.accelerations[[1, 0]])


def test_a_motion_that_changes_is_told_at_once_but_never_at_every_tick():
    motion, windows = Motion(), Windows(SINK, NAMES)
    assert windows_of(motion, windows, [0.0, 0.03]).keys() == {0.0}
    motion.offset = 0.002
    assert windows_of(motion, windows, [0.04]).keys() == {0.04}
    motion.offset = 0.004
    assert windows_of(motion, windows, [0.05, 0.061]).keys() == {0.061}


def test_small_changes_wait_and_a_clock_that_was_set_back_does_not():
    motion, windows = Motion(), Windows(SINK, NAMES)
    windows_of(motion, windows, [5.0])
    motion.offset = 0.0003
    assert not windows_of(motion, windows, [5.05])
    assert windows_of(motion, windows, [2.0]).keys() == {2.0}
    windows.forget()
    assert windows_of(motion, windows, [2.01]).keys() == {2.01}


def test_a_package_that_is_missing_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "control_msgs", None)
    monkeypatch.setitem(sys.modules, "control_msgs.action", None)
    words = r"sink arm/follow: follow_joint_trajectory needs .*install ros-jazzy-control-msgs"
    with pytest.raises(RobotError, match=words):
        find_action("FollowJointTrajectory", FOLLOW)


def test_an_action_that_an_old_package_lacks_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "control_msgs.action", type(sys)("control_msgs.action"))
    monkeypatch.setitem(sys.modules, "control_msgs", type(sys)("control_msgs"))
    with pytest.raises(RobotError, match="which this control_msgs does not have; update it"):
        find_action("ParallelGripperCommand", FOLLOW)
