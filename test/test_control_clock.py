# SPDX-License-Identifier: Apache-2.0
"""Own time, plan time, and motions whose pace changes."""

import numpy as np
import pytest
from control_samples import ARM, HOME, check_curve, random_plan
from hypothesis import given, settings
from hypothesis import strategies as st

from dm0_ros.control.clock import Clock, Pace, retime
from dm0_ros.control.plan import Plan, interpolate

RATES = st.just(0.0) | st.floats(0.01, 1)


@settings(max_examples=200, deadline=None)
@given(RATES, RATES, st.floats(0.05, 3.0))
def test_plan_time_is_the_integral_of_its_rate(before, after, duration):
    pace = Pace(2.0, 5.0, before, after, duration)
    times = np.linspace(2.0, pace.done + 1, 4001)
    due, rate, slope = np.array([pace.at(time) for time in times]).T
    spacing = times[1] - times[0]
    total = 5.0 + np.concatenate([[0], np.cumsum((rate[1:] + rate[:-1]) / 2 * spacing)])
    np.testing.assert_allclose(due, total, atol=1e-5)
    np.testing.assert_allclose(np.gradient(rate, spacing), slope, atol=0.02 / duration)
    assert (rate >= min(before, after) - 1e-9).all() and (rate <= max(before, after) + 1e-9).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), RATES, RATES)
def test_a_path_at_another_pace_is_the_same_path(seed, before, after):
    generator = np.random.default_rng(seed)
    path = interpolate(random_plan(generator), ARM)
    pace = Pace(3.0, path.start, before, after, 0.5)
    motion = retime(path, pace, 3.0)
    for time in generator.uniform(3.0, motion.end + 0.1, 40):
        due, rate, _ = pace.at(time)
        wanted = path.sample(due)
        scale = 1e-4 * (1 + np.abs(path.coefficients).max())
        np.testing.assert_allclose(motion.sample(time)[0], wanted[0], atol=scale)
        if time >= pace.done and after > 0:
            np.testing.assert_allclose(motion.sample(time)[1], wanted[1] * rate, atol=1e-6)
    if after == 0:
        assert motion.end == pytest.approx(pace.done)


def test_own_time_leaves_out_what_was_missed_and_never_runs_back():
    clock = Clock(0.01, 0.01)
    clock.advance(0.01, 100.0, False)
    clock.advance(0.5, 100.5, False)
    assert clock.time == pytest.approx(0.02)
    assert clock.plan_time(100.5, 100.5) == pytest.approx(0.02)
    assert clock.plan_time(100.0, 100.5) == pytest.approx(0.01)
    assert clock.plan_time(100.25, 100.5) == pytest.approx(0.015)
    assert clock.plan_time(99.0, 100.5) == pytest.approx(0.01)
    assert clock.plan_time(101.0, 100.5) == pytest.approx(0.52)
    # Between two ticks, and where the next one fails to come.
    assert clock.plan_time(100.505, 100.505) == pytest.approx(0.025)
    assert clock.plan_time(101.5, 101.5) == pytest.approx(0.03)
    clock.advance(-50.0, 50.5, False)
    assert clock.time == pytest.approx(0.03)
    assert clock.plan_time(50.5, 50.5) == pytest.approx(0.03)


def test_stamps_from_before_a_pause_belong_to_where_the_plan_stood():
    clock = Clock(0.1, 0.1)
    for index in range(100):
        if index == 50:
            clock.pace = Pace(clock.time, clock.due, 0.0, 0.0, 0.0)
        clock.advance(0.1, 10 + 0.1 * index, False)
    assert clock.due == pytest.approx(5.0)
    assert clock.plan_time(12.0, 19.9) == pytest.approx(2.1)
    assert clock.plan_time(18.0, 19.9) == pytest.approx(5.0)


def test_what_it_remembers_is_bounded():
    clock = Clock(0.001, 0.001)
    for index in range(45_000):
        clock.advance(0.001, index * 0.001, False)
    assert clock.plan_time(40.0, 44.999) == pytest.approx(40.001)
    assert len(clock._stamps) <= 20_000


def test_a_change_of_pace_is_smooth():
    values = HOME + 0.3 * np.sin(np.arange(30) * 0.2)[:, None]
    path = interpolate(Plan(1, 0.0, 0.1, values), ARM)
    for before, after in ((1.0, 0.3), (1.0, 0.0), (0.2, 1.0)):
        check_curve(retime(path, Pace(0.0, 0.5, before, after, 1.0), 0.0))
