# SPDX-License-Identifier: Apache-2.0
"""What LIBERO shows and takes, and how DM0's columns mean it."""

import numpy as np
import pinocchio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dm0_ros.errors import PlanError, RobotError
from dm0_ros.libero.contract import Moment, axis_angle, check_action, observe, rotation_matrix
from dm0_ros.libero.suites import load_libero_robot
from dm0_ros.policy.actions import decode_actions, encode_actions, to_differences
from dm0_ros.policy.catalogue import find_entry
from dm0_ros.policy.normalisation import Normalisation, compute_stats
from dm0_ros.robots.spec import Layout, Space

LAYOUT = load_libero_robot().layout("command")
RANDOM = np.random.default_rng(0)


def moment(**changes):
    random = np.random.default_rng(1)
    picture = random.integers(0, 256, (256, 256, 3), dtype=np.uint8)
    parts = {
        "agentview": picture,
        "wrist": picture[::-1].copy(),
        "position": np.array([-0.2, 0.1, 1.2]),
        "quaternion": np.array([1.0, 0.0, 0.0, 0.0]),
        "fingers": np.array([0.04, -0.04]),
    }
    return Moment(**{**parts, **changes})


def test_views_are_turned_and_the_state_has_eight_numbers():
    shown = moment()
    seen = observe(shown, "put it there", 1.5)
    assert list(seen.pictures) == ["agentview", "wrist"]
    for view, picture in zip((shown.agentview, shown.wrist), seen.pictures.values(), strict=True):
        assert picture.shape == (256, 256, 3) and picture.dtype == np.uint8
        assert picture.flags.c_contiguous
        assert np.array_equal(picture, np.rot90(view, 2))
    assert seen.state.dtype == np.float64
    assert seen.state == pytest.approx([-0.2, 0.1, 1.2, np.pi, 0, 0, 0.04, -0.04])
    assert (seen.instruction, seen.stamp) == ("put it there", 1.5)


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.hypot(*q[:2]) > 0.1))
def test_axis_and_angle_are_the_quaternions_rotation(numbers):
    quaternion = np.array(numbers) / np.linalg.norm(numbers)
    expected = pinocchio.Quaternion(quaternion).matrix()
    for sign in (1, -1):
        vector = axis_angle(sign * quaternion)
        assert np.linalg.norm(vector) <= 2 * np.pi + 1e-9
        assert rotation_matrix(vector) == pytest.approx(expected, abs=1e-6)


def test_no_rotation_is_no_angle():
    assert axis_angle(np.array([0.0, 0.0, 0.0, 1.0])).tolist() == [0, 0, 0]
    assert axis_angle(np.array([0.0, 0.0, 0.0, 1.0000001])).tolist() == [0, 0, 0]


def test_actions_are_clipped_and_checked():
    assert check_action([2, -3, 0.5, 0, 0, 0, 9]).tolist() == [1, -1, 0.5, 0, 0, 0, 1]
    with pytest.raises(PlanError, match="an action has 7 numbers, found"):
        check_action(np.zeros(8))
    with pytest.raises(PlanError, match="is not finite"):
        check_action([0, 0, 0, 0, 0, 0, np.nan])


def test_commands_are_differences_to_the_state_but_for_the_gripper():
    state = RANDOM.uniform(-3, 3, 8)
    rows = RANDOM.uniform(-1, 1, (50, 7))
    differences = to_differences(rows, state, LAYOUT)
    assert differences[:, :6] == pytest.approx(rows[:, :6] - state[:6])
    assert differences[:, 6] == pytest.approx(rows[:, 6])


@pytest.mark.parametrize("mode", Normalisation)
def test_commands_come_back_from_the_networks_columns(mode):
    states, rows = RANDOM.uniform(-3, 3, (4, 8)), RANDOM.uniform(-1, 1, (4, 50, 7))
    stats = compute_stats(to_differences(rows, states, LAYOUT), states, width=32)
    columns = encode_actions(rows, states, LAYOUT, stats, mode)
    assert columns.shape == (4, 50, 32)
    assert decode_actions(columns, states, LAYOUT, stats, mode) == pytest.approx(rows, abs=1e-5)


def test_the_public_checkpoint_fits_the_robot():
    entry = find_entry("libero")
    assert entry.settings.layout_of(load_libero_robot()) == LAYOUT
    assert (entry.columns, entry.state_columns) == (LAYOUT.columns, LAYOUT.state_columns)
    assert entry.settings.used_slots == load_libero_robot().camera_slots


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": ()}, "state: is missing; add it"),
        ({"state": LAYOUT.state[:6]}, "state: has 6 columns for 7 of the action"),
        ({"state": (*LAYOUT.state[:7], "x")}, r"state\[7\]: column x appears twice"),
        ({"space": Space.EEF_POSE}, "state: is only for layouts of space eef_command; remove it"),
    ],
)
def test_states_that_do_not_fit_are_refused(changes, message):
    parts = {
        "space": LAYOUT.space, "columns": LAYOUT.columns, "absolute": LAYOUT.absolute,
        "state": LAYOUT.state,
    }  # fmt: skip
    with pytest.raises(RobotError, match=message):
        Layout(**{**parts, **changes})
