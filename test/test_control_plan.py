# SPDX-License-Identifier: Apache-2.0
"""Chunks as functions of time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dm0_ros.control.plan import Coast, Trajectory

ARM = np.array([False, False])
GRIPPER = np.array([True, True])
ROWS = st.integers(1, 60).flatmap(
    lambda rows: arrays(np.float64, (rows, 2), elements=st.floats(-3, 3))
)
STEP = st.floats(0.01, 0.5)


@settings(max_examples=100, deadline=None)
@given(ROWS, STEP)
def test_passes_its_rows_on_time_and_rests_at_the_last(values, step):
    plan = Trajectory(10.0, step, values, ARM)
    for row in range(max(1, len(values) - 1)):
        np.testing.assert_allclose(plan.sample(10.0 + row * step)[0], values[row], atol=1e-6)
    np.testing.assert_allclose(plan.sample(plan.end - 1e-9)[0], values[-1], atol=1e-5)
    np.testing.assert_array_equal(plan.sample(plan.end + 1)[1:], 0)
    np.testing.assert_allclose(plan.sample(plan.end + 1)[0], values[-1], atol=1e-9)
    assert plan.end == pytest.approx(10.0 + len(values) * step)


@settings(max_examples=100, deadline=None)
@given(ROWS, STEP)
def test_position_velocity_and_acceleration_have_no_jumps(values, step):
    plan = Trajectory(0.0, step, values, ARM)
    scale = np.array([1, 1 / step, 1 / step**2])[:, None] * (1 + np.ptp(values))
    for row in range(1, len(values) + 1):
        before, after = (plan.sample(row * step + side) for side in (-1e-9, 1e-9))
        np.testing.assert_array_less(np.abs(after - before) / scale, 1e-5)


def test_velocity_and_acceleration_are_those_of_the_position():
    values = np.random.default_rng(1).normal(size=(12, 2))
    plan = Trajectory(0.0, 0.1, values, ARM)
    for time in np.linspace(0.003, 1.19, 97):
        low, mid, high = (plan.sample(time + shift) for shift in (-1e-5, 0, 1e-5))
        np.testing.assert_allclose((high[0] - low[0]) / 2e-5, mid[1], atol=1e-3)
        np.testing.assert_allclose((high[1] - low[1]) / 2e-5, mid[2], atol=0.1)


def test_a_ramp_brakes_without_passing_its_last_row():
    values = np.linspace(0, 1, 11)[:, None] * np.ones(2)
    plan = Trajectory(0.0, 0.1, values, ARM)
    samples = np.array([plan.sample(time) for time in np.linspace(0, 1.1, 500)])
    assert (np.diff(samples[:, 0, 0]) >= -1e-12).all()
    assert np.abs(samples[:, 2]).max() == pytest.approx(0.75 * 1.0 / 0.1, rel=1e-3)


@settings(max_examples=200, deadline=None)
@given(ROWS, STEP)
def test_gripper_columns_never_leave_the_span_of_their_rows(values, step):
    plan = Trajectory(0.0, step, values, GRIPPER)
    for time in np.linspace(-step, plan.end + step, 50):
        position = plan.sample(time)[0]
        assert (position >= values.min(0) - 1e-9).all()
        assert (position <= values.max(0) + 1e-9).all()


def test_time_left_counts_the_step_of_the_last_row():
    plan = Trajectory(5.0, 0.1, np.zeros((10, 2)), ARM)
    assert plan.time_left(5.4) == pytest.approx(0.6)
    assert plan.time_left(7.0) == 0


def test_keeps_its_accuracy_at_times_since_1970():
    values = np.random.default_rng(2).normal(size=(50, 2))
    early, late = (Trajectory(start, 0.1, values, ARM) for start in (0.0, 1.8e9))
    for time in (0.0, 0.33, 2.71, 4.9):
        np.testing.assert_allclose(late.sample(1.8e9 + time)[0], early.sample(time)[0], atol=1e-5)


@settings(max_examples=100, deadline=None)
@given(arrays(np.float64, (3, 2), elements=st.floats(-5, 5)), st.floats(0.05, 1))
def test_coast_begins_in_its_state_and_ends_at_rest(state, duration):
    coast = Coast(1.0, state, duration)
    np.testing.assert_allclose(coast.sample(1.0), state, atol=1e-12)
    end = coast.sample(1.0 + duration - 1e-10)
    np.testing.assert_allclose(end[1:], 0, atol=1e-4)
    np.testing.assert_allclose(coast.sample(9.0)[0], end[0], atol=1e-6)
