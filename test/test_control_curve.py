# SPDX-License-Identifier: Apache-2.0
"""Motions made of quintics, and the proof of what they ask for."""

import numpy as np
import pytest
from control_samples import ARM, LIMITS, random_plan
from hypothesis import given, settings
from hypothesis import strategies as st

from dm0_ros.control.certificate import certify, explain
from dm0_ros.control.curve import ORDER, Curve, hermite
from dm0_ros.control.plan import interpolate

SEEDS = st.integers(0, 2**32 - 1)


def random_curve(generator, pieces=6, columns=3):
    begins = np.cumsum(generator.uniform(0.01, 0.5, pieces)) + generator.uniform(-3, 3)
    coefficients = (
        generator.normal(size=(pieces, ORDER, columns)) * 10.0 ** np.arange(ORDER)[:, None]
    )
    return Curve(begins, coefficients, begins[-1] + generator.uniform(0.01, 0.5))


def polynomials(curve):
    """numpy's own polynomials of every piece and column, as the judge."""
    for begin, piece, duration in zip(
        curve.begins, curve.coefficients, curve.durations, strict=True
    ):
        yield begin, duration, [np.polynomial.Polynomial(column) for column in piece.T]


@settings(max_examples=200, deadline=None)
@given(SEEDS)
def test_samples_are_those_of_the_polynomials(seed):
    generator = np.random.default_rng(seed)
    curve = random_curve(generator)
    for begin, duration, columns in polynomials(curve):
        x = generator.uniform(0, duration * 0.999)
        expected = [[p.deriv(order)(x) if order else p(x) for p in columns] for order in range(3)]
        np.testing.assert_allclose(curve.sample(begin + x), expected, rtol=1e-7, atol=1e-6)
        np.testing.assert_allclose(
            curve.positions(np.array([begin + x]))[0], expected[0], rtol=1e-7
        )
    before, after = curve.sample(curve.start - 1), curve.sample(curve.end + 1)
    assert not before[1:].any() and not after[1:].any()
    np.testing.assert_allclose(before[0], curve.coefficients[0, 0])
    np.testing.assert_allclose(after[0], curve.rest)


@settings(max_examples=200, deadline=None)
@given(SEEDS)
def test_cutting_joining_stretching_and_adding_keep_the_path(seed):
    generator = np.random.default_rng(seed)
    curve = random_curve(generator)
    at = generator.uniform(curve.start, curve.end)
    times = np.linspace(at, curve.end + 0.1, 50)
    part = curve.cut(at)
    np.testing.assert_allclose(part.positions(times), curve.positions(times), rtol=1e-6, atol=1e-6)
    whole = curve.then(part)
    times = np.linspace(curve.start, curve.end, 50)
    np.testing.assert_allclose(
        whole.positions(times), curve.positions(times), rtol=1e-6, atol=1e-6
    )
    slow = part.stretched(2.5)
    early, late = part.sample(at + 0.01), slow.sample(at + 0.025)
    np.testing.assert_allclose(late * [[1], [2.5], [6.25]], early, rtol=1e-6, atol=1e-5)
    duration = generator.uniform(0.01, 2.0)
    error = generator.normal(size=(3, 3))
    quintic = hermite(error, np.zeros((3, 3)), duration)
    total = part.plus(quintic, duration)
    fade = Curve(np.array([at]), quintic[None], at + duration)
    for time in np.linspace(at, at + duration * 0.999, 20):
        if time >= part.end:
            expected = fade.sample(time) + np.stack([part.rest, 0 * part.rest, 0 * part.rest])
        else:
            expected = fade.sample(time) + part.sample(time)
        np.testing.assert_allclose(total.sample(time), expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(total.rest, part.rest, rtol=1e-6, atol=1e-6)
    assert total.end == max(part.end, at + duration)


@settings(max_examples=200, deadline=None)
@given(SEEDS, st.floats(0.05, 3.0))
def test_hermite_leads_from_one_state_to_the_other(seed, duration):
    begin, end = np.random.default_rng(seed).normal(size=(2, 3, 4))
    for column, coefficients in enumerate(hermite(begin, end, duration).T):
        p = np.polynomial.Polynomial(coefficients)
        for x, state in ((0.0, begin), (duration, end)):
            found = [p(x), p.deriv(1)(x), p.deriv(2)(x)]
            np.testing.assert_allclose(found, state[:, column], atol=1e-8)


@settings(max_examples=300, deadline=None)
@given(SEEDS)
def test_a_certificate_is_never_below_the_truth_and_seldom_far_above(seed):
    curve = random_curve(np.random.default_rng(seed))
    bounds = certify(curve)
    truth = np.zeros((5, 3))
    truth[0], truth[1] = np.inf, -np.inf
    for _, duration, columns in polynomials(curve):
        x = np.linspace(0, duration, 400)
        for index, p in enumerate(columns):
            values = [p(x), *(np.abs(p.deriv(order)(x)) for order in (1, 2, 3))]
            truth[0, index] = min(truth[0, index], values[0].min())
            truth[1, index] = max(truth[1, index], values[0].max())
            for row in (1, 2, 3):
                truth[row + 1, index] = max(truth[row + 1, index], values[row].max())
    room = 1e-9 * (1 + np.abs(truth))
    assert (bounds.lowest <= truth[0] + room[0]).all()
    assert (bounds.highest >= truth[1] - room[1]).all()
    np.testing.assert_allclose(bounds.acceleration, truth[3], rtol=1e-3)
    np.testing.assert_allclose(bounds.jerk, truth[4], rtol=1e-3)
    assert (bounds.velocity >= truth[2] - room[2]).all()
    assert (bounds.velocity <= 1.3 * truth[2] + 1).all()


def test_a_still_motion_asks_for_nothing():
    curve = Curve.still(np.zeros(ARM), 3.0)
    bounds = certify(curve)
    assert not any(row.any() for row in (bounds.velocity, bounds.acceleration, bounds.jerk))
    assert bounds.stretch(LIMITS) == 1
    np.testing.assert_array_equal(curve.sample(2.0), curve.sample(4.0))


def test_what_a_motion_would_break_is_named():
    generator = np.random.default_rng(7)
    for _ in range(50):
        motion = interpolate(random_plan(generator), ARM)
        bounds = certify(motion)
        factor = bounds.stretch(LIMITS)
        slow = certify(motion.stretched(factor))
        assert not slow.broken(LIMITS)[1:].any()
        if factor > 1:
            assert certify(motion.stretched(factor * 0.99)).broken(LIMITS)[1:].any()
    broken = np.zeros((4, ARM), dtype=bool)
    broken[2, 1] = broken[0, 4] = True
    assert explain(broken, LIMITS) == ("fr3_joint2: acceleration", "fr3_joint5: position")


def test_keeps_its_accuracy_after_days():
    generator = np.random.default_rng(2)
    plan = random_plan(generator)
    early = interpolate(plan, ARM)
    late = Curve(early.begins + 1e6, early.coefficients, early.end + 1e6)
    for time in np.linspace(0, early.end, 30):
        assert late.sample(1e6 + time)[0] == pytest.approx(early.sample(time)[0], abs=1e-8)


def test_a_moment_that_rounding_puts_before_the_start_is_the_start():
    """Times are sums of many steps: a motion must not be at rest because of their last digit."""
    start, state = 3.38, np.array([[0.1], [0.3], [-2.0]])
    motion = Curve(
        np.array([start, start + 1.0]),
        np.stack([hermite(state, 0 * state, 1.0), np.zeros((6, 1))]),
        start + 2.0,
    )
    before = np.nextafter(start, 0.0)
    np.testing.assert_allclose(motion.sample(before), state, atol=1e-9)
    np.testing.assert_allclose(motion.cut(before).sample(start), state, atol=1e-9)
    assert not motion.sample(start - 1e-6)[1:].any()
