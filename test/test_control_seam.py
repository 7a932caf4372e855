# SPDX-License-Identifier: Apache-2.0
"""From one plan to the next."""

from dataclasses import replace

import numpy as np
import pytest
from control_samples import (
    ARM,
    HOME,
    LIMITS,
    check_curve,
    random_limits,
    random_plan,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from dm0_ros.control.certificate import certify
from dm0_ros.control.curve import Curve
from dm0_ros.control.plan import Plan, interpolate, pass_through
from dm0_ros.control.seam import Blend, HoldUntilDone, Replace, Rtc, TemporalEnsemble, fit
from dm0_ros.errors import PlanError

SEEDS = st.integers(0, 2**32 - 1)
SMOOTH = [Blend(0.3), Blend(0.0), Replace(), TemporalEnsemble(0.3, 0.01, 4), Rtc(0.05)]


def ramp(speed, rows=20, start=0.0, offset=0.0, sequence=1):
    values = np.tile(HOME, (rows, 1))
    values[:, 0] += offset + speed * 0.1 * np.arange(rows)
    return Plan(sequence, start, 0.1, values)


def follow(seam, plans, limits, origin=HOME):
    """Join plans as they come; gives every (time, motion before, motion after)."""
    motion, recent, changes = Curve.still(origin[:ARM], 0.0), [], []
    for now, plan in plans:
        try:
            joined = seam.join(motion, seam.prepare(plan, recent, motion.end, now), now, limits)
        except PlanError as error:
            assert f"plan {plan.sequence}" in str(error)
            continue
        changes.append((now, motion, joined.motion))
        motion, recent = joined.motion, [*recent, plan]
    return changes


@settings(max_examples=300, deadline=None)
@given(SEEDS, st.sampled_from(SMOOTH))
def test_a_history_of_plans_is_one_motion_within_the_limits(seed, seam):
    generator = np.random.default_rng(seed)
    limits = random_limits(generator)
    now, plans = 0.0, []
    for sequence in range(int(generator.integers(2, 6))):
        plan = random_plan(generator, sequence, now + generator.uniform(-0.5, 0.3), limits)
        if plan.end > now:
            plans.append((now, plan))
        now += generator.choice([0.002, 0.1, 0.5, 3.0])
    for now, before, after in follow(seam, plans, limits):
        check_curve(after, limits, dt=0.004)
        np.testing.assert_allclose(after.sample(now), before.sample(now), atol=1e-6)


@settings(max_examples=200, deadline=None)
@given(SEEDS)
def test_a_blend_becomes_the_new_plan_exactly(seed):
    generator = np.random.default_rng(seed)
    first, second = ramp(0.3), ramp(0.4, start=0.5, offset=generator.uniform(-0.1, 0.1))
    motion = Blend(0.3).join(interpolate(first, ARM), second, 0.6, LIMITS).motion
    new = interpolate(second, ARM)
    times = np.linspace(1.6, 2.4, 50)
    np.testing.assert_allclose(motion.positions(times), new.positions(times), atol=1e-9)
    early = np.linspace(0.6, 0.62, 5)
    np.testing.assert_allclose(
        motion.positions(early), interpolate(first, ARM).positions(early), atol=1e-3
    )


def test_where_plans_differ_in_position_alone_a_blend_is_the_quintic_cross_fade():
    old, new = interpolate(ramp(0.3), ARM), ramp(0.3, offset=0.05)
    motion = Blend(0.4).join(old, new, 0.5, LIMITS).motion
    for x in np.linspace(0, 1, 11):
        weight = x**3 * (10 - 15 * x + 6 * x * x)
        expected = HOME[0] + 0.3 * (0.5 + 0.4 * x) + 0.05 * weight
        assert motion.sample(0.5 + 0.4 * x)[0, 0] == pytest.approx(expected, abs=1e-9)


def test_a_wide_gap_takes_as_long_as_half_the_limits_need():
    far = ramp(0.0, offset=0.3)
    motion = Blend(0.1).join(Curve.still(HOME[:ARM], 0.0), far, 0.0, LIMITS).motion
    assert certify(motion).acceleration[0] == pytest.approx(5.0, rel=0.01)


def test_a_flood_of_plans_neither_piles_up_nor_breaks_a_limit():
    generator = np.random.default_rng(0)
    motion = Curve.still(HOME[:ARM], 0.0)
    times, path = np.arange(200) * 0.002, []
    for index, now in enumerate(times):
        plan = ramp(0.2, start=now, offset=generator.normal() * 0.05, sequence=index)
        motion = Blend(0.3).join(motion, plan, now, LIMITS).motion
        assert len(motion.begins) < 30
        path.append(motion.sample(now)[0])
    velocity = np.diff(path, axis=0) / 0.002
    jerk = np.diff(velocity, n=2, axis=0) / 0.002**2
    assert (np.abs(jerk) <= LIMITS.jerk[:ARM]).all()
    assert (np.abs(np.diff(velocity, axis=0) / 0.002) <= LIMITS.acceleration[:ARM]).all()


def test_replace_is_on_the_new_plan_as_soon_as_the_limits_allow():
    new = ramp(0.2, offset=0.1)
    motion = Replace().join(Curve.still(HOME[:ARM], 0.0), new, 0.0, LIMITS).motion
    wanted = interpolate(new, ARM)
    # 0.1 rad from rest to rest take 0.2 s at 10 rad/s2; the plan moves on meanwhile.
    late = np.linspace(0.3, 1.7, 20)
    np.testing.assert_allclose(motion.positions(late), wanted.positions(late), atol=1e-6)
    assert abs(motion.sample(0.1)[0, 0] - wanted.sample(0.1)[0, 0]) > 0.01


def test_stop_and_go_plays_the_rows_from_the_first_and_refuses_what_was_seen_before():
    seam = HoldUntilDone(10)
    plan = seam.prepare(ramp(0.2, start=4.0), [], 3.0, 4.5)
    assert plan.start == 4.5 and len(plan.values) == 10
    old = Curve.still(HOME[:ARM], 4.5)
    motion = seam.join(old, plan, 4.5, LIMITS).motion
    assert motion.end == pytest.approx(5.5)
    for now, start in ((5.0, 4.9), (5.6, 5.2)):
        with pytest.raises(PlanError, match="plan 2 was made before"):
            seam.prepare(ramp(0.2, start=start, sequence=2), [plan], 5.5, now)
    assert seam.prepare(ramp(0.2, start=5.55), [plan], 5.5, 5.7).start == 5.7


def test_an_ensemble_is_the_weighted_mean_where_plans_overlap():
    seam = TemporalEnsemble(0.3, 0.5, 2)
    plans = [ramp(0.0, offset=0.1 * index, start=0.5 * index) for index in range(3)]
    mean = seam.prepare(plans[2], plans[:2], 0.0, 1.0)
    weights = np.exp(-0.5 * np.arange(2))
    expected = HOME[0] + (0.1 * weights[0] + 0.2 * weights[1]) / weights.sum()
    np.testing.assert_allclose(mean.values[:15, 0], expected)  # the first plan is too old
    np.testing.assert_allclose(mean.values[15:, 0], HOME[0] + 0.2)  # the newest alone


@settings(max_examples=300, deadline=None)
@given(SEEDS, st.floats(0.0, 0.9))
def test_a_plan_is_followed_as_it_is_or_says_what_bound(seed, when):
    generator = np.random.default_rng(seed)
    limits = random_limits(generator)
    plan = random_plan(generator, limits=limits)
    now = when * plan.end
    motion, bound, slower = fit(plan, now, limits)
    landing = plan.step * (len(plan.values) - 2)  # until then the rows are passed on time
    if now < landing:
        times = np.linspace(now, landing, 50)
        exact = pass_through(plan).positions(times)[:, :ARM]
        same = np.allclose(motion.positions(times), exact, atol=1e-9)
        assert same or bound or certify(interpolate(plan, ARM).cut(now)).broken(limits).any()
    assert slower >= 1 and (slower == 1 or bound)
    assert not certify(motion).broken(limits).any()
    np.testing.assert_allclose(motion.rest, plan.values[-1, :ARM], atol=1e-6)


def test_rows_that_jitter_are_smoothed_and_not_slowed_down():
    jitter = np.random.default_rng(1).normal(size=(50, 8)) * 0.003
    plan = Plan(1, 0.0, 1 / 30, np.clip(ramp(0.05, rows=50).values + jitter, HOME - 1, HOME + 1))
    motion, bound, slower = fit(plan, 0.0, LIMITS)
    assert slower == 1 and bound and {words.split(": ")[1] for words in bound} == {"acceleration"}
    times = np.arange(48) / 30
    assert np.abs(motion.positions(times) - plan.values[:48, :ARM]).max() < 0.02
    check_curve(motion)


def test_a_plan_that_ends_fast_keeps_its_pace_and_lands_in_more_steps():
    values = np.tile(HOME, (50, 1))
    values[:, 0] += 1.5 / 30 * np.arange(50) - 1.2
    motion, bound, slower = fit(Plan(1, 0.0, 1 / 30, values), 0.0, LIMITS)
    assert not bound and slower == 1
    times = np.arange(40) / 30
    np.testing.assert_allclose(motion.positions(times), values[:40, :ARM], atol=1e-6)
    np.testing.assert_allclose(motion.rest, values[-1, :ARM], atol=1e-9)
    assert 50 / 30 < motion.end < 51 / 30 + 1.5 / 10
    path = motion.positions(np.linspace(0, motion.end, 500))[:, 0]
    assert (np.diff(path) >= -1e-9).all()
    check_curve(motion)


def test_a_plan_that_cannot_be_reached_is_refused_by_number():
    slow = replace(LIMITS, lower=HOME - 1e-3, upper=HOME + 1e-3)
    fast = ramp(0.0)
    state = np.zeros((3, ARM))
    state[0], state[1, 0] = HOME[:ARM], 2.0  # nothing could stop this within the range
    old = Curve(np.zeros(1), np.pad(state, ((0, 3), (0, 0)))[None], 1.0)
    for seam in (Blend(0.3), Replace()):
        with pytest.raises(PlanError, match="plan 1: no motion leads to it"):
            seam.join(old, fast, 0.0, slow)
