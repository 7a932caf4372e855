# SPDX-License-Identifier: Apache-2.0
"""Rows as curves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dm0_ros.control.plan import Plan, interpolate, pass_through

ROWS = st.integers(1, 60).flatmap(
    lambda rows: arrays(np.float64, (rows, 2), elements=st.floats(-3, 3))
)
STEP = st.floats(0.01, 0.5)
SOFT = st.tuples(st.integers(0, 3), st.integers(0, 3)).map(np.array)


def make(values, step=0.1, start=0.0, soft=None):
    return interpolate(Plan(1, start, step, values), values.shape[1], soft)


@settings(max_examples=200, deadline=None)
@given(ROWS, STEP)
def test_passes_its_rows_on_time_and_rests_at_the_last(values, step):
    plan = make(values, step, 10.0)
    for row in range(max(1, len(values) - 1)):
        np.testing.assert_allclose(plan.sample(10.0 + row * step)[0], values[row], atol=1e-6)
    np.testing.assert_allclose(plan.sample(plan.end - 1e-9)[0], values[-1], atol=1e-5)
    np.testing.assert_array_equal(plan.sample(plan.end + 1)[1:], 0)
    np.testing.assert_allclose(plan.sample(plan.end + 1)[0], values[-1], atol=1e-9)
    assert plan.end == pytest.approx(10.0 + len(values) * step)


@settings(max_examples=200, deadline=None)
@given(ROWS, STEP, SOFT, st.integers(1, 8))
def test_position_velocity_and_acceleration_have_no_jumps(values, step, soft, landing):
    landing = min(landing, max(1, len(values) - 1))
    plan = interpolate(Plan(1, 0.0, step, values), 2, soft, landing)
    np.testing.assert_allclose(plan.rest, values[-1], atol=1e-8)
    assert plan.end == pytest.approx(step * (len(values) - 1 + landing))
    scale = np.array([1, 1 / step, 1 / step**2])[:, None] * (1 + np.ptp(values))
    for row in range(1, len(values) + landing):
        before, after = (plan.sample(row * step + side) for side in (-1e-9, 1e-9))
        np.testing.assert_array_less(np.abs(after - before) / scale, 1e-5)


@settings(max_examples=200, deadline=None)
@given(ROWS, STEP, st.integers(1, 3))
def test_soft_columns_stay_within_the_span_of_their_rows_near_them(values, step, level):
    plan = make(values, step, soft=np.array([level, 0]))
    times = np.linspace(0, plan.end + step, 200)
    path = plan.positions(times)[:, 0]
    assert (path >= values[:, 0].min() - 1e-9).all() and (path <= values[:, 0].max() + 1e-9).all()
    bend = np.abs(np.diff(values[:, 0], n=2)).max(initial=0.0)
    rows = np.arange(max(1, len(values) - 1))
    off = np.abs(plan.positions(rows * step)[:, 0] - values[: len(rows), 0])
    assert (off <= bend * (1 / 6 + (level - 1) / 4) + 1e-9).all()
    np.testing.assert_allclose(plan.rest, values[-1], atol=1e-9)
    np.testing.assert_allclose(plan.sample(0.0)[0], values[0], atol=1e-9)
    curve = np.abs([plan.sample(time)[2, 0] for time in times])
    last = np.abs(np.diff(values[-2:, 0])).max(initial=0.0)
    assert (curve <= max(bend, last) / step**2 * (1 + 1e-9)).all()


def test_a_ramp_brakes_without_passing_its_last_row():
    values = np.linspace(0, 1, 11)[:, None] * np.ones(2)
    plan = make(values)
    samples = np.array([plan.sample(time) for time in np.linspace(0, 1.1, 500)])
    assert (np.diff(samples[:, 0, 0]) >= -1e-12).all()
    assert np.abs(samples[:, 2]).max() == pytest.approx(0.75 * 1.0 / 0.1, rel=1e-3)


def test_a_longer_landing_brakes_earlier_and_more_gently():
    values = np.linspace(0, 1, 21)[:, None] * np.ones(2)
    plan = interpolate(Plan(1, 0.0, 0.05, values), 2, landing=4)
    samples = np.array([plan.sample(time) for time in np.linspace(0, plan.end, 500)])
    assert (np.diff(samples[:, 0, 0]) >= -1e-12).all()
    assert np.abs(samples[:, 2]).max() == pytest.approx(0.75 * 1.0 / (4 * 0.05), rel=1e-2)
    np.testing.assert_allclose(plan.sample(16 * 0.05)[0], values[16], atol=1e-9)


def test_a_spline_that_passes_through_keeps_its_rows_to_the_last():
    values = np.random.default_rng(3).normal(size=(12, 2))
    spline = pass_through(Plan(1, 2.0, 0.1, values))
    times = 2.0 + 0.1 * np.arange(12)
    np.testing.assert_allclose(spline.positions(times), values, atol=1e-9)
