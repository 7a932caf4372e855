# SPDX-License-Identifier: Apache-2.0
"""Commands and camera turns of a simulator that runs by itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm0_ros.errors import RobotError
from dm0_ros.sim.live import CameraTurns, CommandBuffer, Trajectory

NAMES = ("shoulder", "elbow", "hand")
ANGLES = st.floats(-3.0, 3.0)


def make_trajectory(times, values, names=NAMES[:2]):
    return Trajectory(names, np.array(times, dtype=float), np.array(values, dtype=float))


def test_newest_command_of_each_joint_counts():
    commands = CommandBuffer(NAMES)
    commands.set(("shoulder", "elbow"), (1.0, 2.0))
    commands.set(("elbow",), (3.0,))
    assert commands.targets(0.0) == {"shoulder": 1.0, "elbow": 3.0}
    commands.clear()
    assert commands.targets(0.0) == {}


def test_unknown_joint_is_named():
    commands = CommandBuffer(NAMES)
    with pytest.raises(RobotError, match="wrist"):
        commands.set(("wrist",), (0.0,))
    with pytest.raises(RobotError, match="wrist"):
        commands.follow(make_trajectory([1.0], [[0.0]], ("wrist",)), 0.0, [0.0])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_command_that_is_not_finite_is_refused(bad):
    commands = CommandBuffer(NAMES)
    with pytest.raises(RobotError, match="elbow"):
        commands.set(("elbow",), (bad,))
    with pytest.raises(RobotError, match="finite"):
        commands.follow(make_trajectory([1.0], [[0.0, bad]]), 0.0, [0.0, 0.0])
    assert commands.targets(0.0) == {}


@given(ANGLES, ANGLES, ANGLES, st.floats(0.0, 1.0))
def test_trajectory_is_followed_in_time(start, middle, end, share):
    commands = CommandBuffer(NAMES)
    trajectory = make_trajectory([1.0, 2.0], [[middle, 0.0], [end, 0.0]])
    commands.follow(trajectory, 10.0, [start, 0.0])
    first = commands.targets(10.0 + share)["shoulder"]
    assert first == pytest.approx(start + share * (middle - start), abs=1e-9)
    second = commands.targets(11.0 + share)["shoulder"]
    assert second == pytest.approx(middle + share * (end - middle), abs=1e-9)
    assert commands.targets(99.0)["shoulder"] == pytest.approx(end)


def test_position_command_ends_a_trajectory_of_its_joint_only():
    commands = CommandBuffer(NAMES)
    commands.follow(make_trajectory([1.0], [[1.0, 1.0]]), 0.0, [0.0, 0.0])
    commands.set(("hand",), (0.5,))
    assert commands.targets(0.5) == pytest.approx({"shoulder": 0.5, "elbow": 0.5, "hand": 0.5})
    commands.set(("elbow",), (2.0,))
    later = commands.targets(1.0)
    assert later["elbow"] == 2.0
    assert later["shoulder"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("times", "values"),
    [([], np.zeros((0, 2))), ([1.0, 1.0], np.zeros((2, 2))), ([-1.0], np.zeros((1, 2)))],
)
def test_trajectory_without_rising_times_is_refused(times, values):
    with pytest.raises(RobotError):
        make_trajectory(times, values)


@given(st.integers(1, 4), st.floats(5.0, 60.0), st.floats(0.002, 0.01))
def test_cameras_take_turns_at_their_rate(count, rate, tick):
    slots = [f"camera {index}" for index in range(count)]
    turns = CameraTurns(slots, rate)
    seconds = 4.0
    taken = [turns.due(k * tick) for k in range(int(seconds / tick))]
    due = [slot for slot in taken if slot]
    assert all(slot == slots[index % count] for index, slot in enumerate(due))
    possible = min(rate * count, 1.0 / tick)
    assert len(due) == pytest.approx(seconds * possible, rel=0.1, abs=2 * count)


def test_missed_turns_are_not_made_up_for():
    turns = CameraTurns(["left", "right"], 10.0)
    assert turns.due(0.0) == "left"
    assert turns.due(100.0) is not None
    assert turns.due(100.001) is None
