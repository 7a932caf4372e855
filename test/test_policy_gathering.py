# SPDX-License-Identifier: Apache-2.0
"""Pictures and joints gathered into observations, and a name for whatever is missing or stale."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm0_ros.errors import ObservationError
from dm0_ros.policy.gathering import Gatherer
from dm0_ros.policy.protocol import PolicySpec
from dm0_ros.robots.loading import load_robot
from dm0_ros.robots.spec import Space

ROBOT = load_robot("franka")
NAMES = ROBOT.column_names
FINGER = ROBOT.grippers[0]
SLOTS = ("right_hand", "left_hand")
SPEC = PolicySpec("test", SLOTS, NAMES, NAMES, Space.JOINT_POSITION, 2, 0.1)
POSITIONS = np.linspace(-0.5, 0.02, len(NAMES))
NOW = 1000.0


def picture(value=0):
    return np.full((4, 4, 3), value, np.uint8)


def make_gatherer(*, without=(), picture_age=0.1, joint_age=0.01):
    gatherer = Gatherer(SPEC, ROBOT)
    for index, slot in enumerate(SLOTS):
        if slot not in without:
            gatherer.add_picture(slot, NOW - picture_age, lambda value=index: picture(value))
    kept = [(n, p) for n, p in zip(NAMES, POSITIONS, strict=True) if n not in without]
    if kept:
        gatherer.add_joints(NOW - joint_age, *zip(*kept, strict=True))
    return gatherer


def test_observation_says_when_each_picture_was_taken():
    gatherer = make_gatherer()
    gatherer.add_picture(SLOTS[0], NOW - 0.03, picture)
    observation = gatherer.observe("touch it", NOW)
    assert observation.stamps == {SLOTS[0]: NOW - 0.03, SLOTS[1]: NOW - 0.1}
    assert observation.stamp == NOW - 0.03


def test_observation_has_every_slot_and_the_opening_of_the_gripper():
    observation = make_gatherer().observe("touch it", NOW)
    assert observation.instruction == "touch it" and observation.stamp == NOW - 0.1
    assert [observation.pictures[slot][0, 0, 0] for slot in SLOTS] == [0, 1]
    np.testing.assert_allclose(observation.state[:-1], POSITIONS[:-1])
    assert observation.state[-1] == pytest.approx(POSITIONS[-1] * FINGER.opening_per_joint)


@given(st.permutations(range(len(NAMES))), st.integers(0, len(NAMES)))
def test_order_and_parts_of_joint_states_do_not_matter(order, cut):
    gatherer = make_gatherer(without=NAMES)
    for part in (order[:cut], order[cut:]):
        gatherer.add_joints(NOW, [NAMES[i] for i in part], [POSITIONS[i] for i in part])
    state = gatherer.observe("", NOW).state
    np.testing.assert_allclose(state[:-1], POSITIONS[:-1])


def test_joints_nearest_in_time_to_the_newest_picture():
    gatherer = make_gatherer(without=NAMES, picture_age=0.1)
    for age in (0.15, 0.11, 0.05, 0.0):
        gatherer.add_joints(NOW - age, NAMES, [age] * len(NAMES))
    assert gatherer.observe("", NOW).state[0] == 0.11
    assert gatherer.state(NOW)[0] == 0.0


@pytest.mark.parametrize("slot", SLOTS)
def test_missing_camera_is_named(slot):
    with pytest.raises(ObservationError, match=f"'{slot}'.*no picture"):
        make_gatherer(without=(slot,)).observe("", NOW)


def test_stale_picture_is_named_with_its_age():
    with pytest.raises(ObservationError, match=r"'right_hand'.*1\.50 s old"):
        make_gatherer(picture_age=1.5).observe("", NOW)


def test_picture_from_the_future_is_refused():
    with pytest.raises(ObservationError, match=r"5\.00 s ahead"):
        make_gatherer(picture_age=-5.0).observe("", NOW)


@pytest.mark.parametrize("name", NAMES)
def test_missing_joint_is_named(name):
    with pytest.raises(ObservationError, match=name):
        make_gatherer(without=(name,)).observe("", NOW)


def test_stale_joints_are_named_with_their_age():
    with pytest.raises(ObservationError, match=r"fr3_\w+.*0\.90 s old"):
        make_gatherer(joint_age=0.9).observe("", NOW)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_joint_that_is_not_finite_is_named(bad):
    gatherer = make_gatherer()
    gatherer.add_joints(NOW, ["fr3_joint3"], [bad])
    with pytest.raises(ObservationError, match="fr3_joint3"):
        gatherer.observe("", NOW)


def test_check_finds_what_is_missing_and_decodes_nothing():
    for harm in ({"without": SLOTS[:1]}, {"without": NAMES[:1]}, {"picture_age": 1.5}):
        gatherer = make_gatherer(**harm)
        with pytest.raises(ObservationError) as seen:
            gatherer.observe("", NOW)
        with pytest.raises(ObservationError) as checked:
            gatherer.check(NOW)
        assert str(checked.value) == str(seen.value)
    gatherer = make_gatherer()
    gatherer.add_picture(SLOTS[0], NOW, lambda: pytest.fail("it was decoded"))
    gatherer.check(NOW)


def test_joint_state_of_uneven_lengths_is_refused():
    with pytest.raises(ObservationError, match="8 names and 3 positions"):
        Gatherer(SPEC, ROBOT).add_joints(NOW, NAMES, [0.0] * 3)


def test_ages_tell_which_camera_is_silent():
    ages = make_gatherer(without=("left_hand",)).ages(NOW)
    assert ages["right_hand"] == pytest.approx(0.1) and ages["left_hand"] == math.inf
