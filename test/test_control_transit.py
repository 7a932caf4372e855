# SPDX-License-Identifier: Apache-2.0
"""Braking, approaching and catching up, within the limits whatever the state."""

import numpy as np
import pytest
from control_samples import ARM, HOME, LIMITS, check_curve, random_limits, random_plan
from hypothesis import given, settings
from hypothesis import strategies as st

from dm0_ros.control.certificate import certify
from dm0_ros.control.curve import Curve
from dm0_ros.control.seam import fit
from dm0_ros.control.transit import _stop, brake, catch, travel

SEEDS = st.integers(0, 2**32 - 1)


def stopping_time(state, limits):
    """The bound that docs/executor.md states."""
    arm = limits.arm
    velocity, acceleration = np.abs(state[1]), limits.acceleration[arm]
    ramp = acceleration / limits.jerk[arm]
    return float((velocity / acceleration + 3 * ramp).max())


@settings(max_examples=300, deadline=None)
@given(SEEDS, st.floats(0, 1))
def test_braking_keeps_every_limit_and_ends_in_the_stated_time(seed, when):
    generator = np.random.default_rng(seed)
    limits = random_limits(generator)
    motion = fit(random_plan(generator, limits=limits), 0.0, limits).motion
    time = motion.start + when * (motion.end - motion.start)
    stop = brake(motion, time, limits)
    np.testing.assert_allclose(stop.sample(time), motion.sample(time), atol=1e-6)
    check_curve(stop, limits)
    state = motion.sample(time)
    alone = _stop(state, time, limits, together=False)
    if alone is None or certify(alone).broken(limits)[0].any():
        assert stop.end <= motion.end + 1e-6  # it turns by itself, as close to the range's end
    else:
        assert stop.end <= time + stopping_time(state, limits) + 1e-6


def test_braking_is_straight_on():
    motion = Curve.still(HOME[:ARM], 0.0)
    speed = np.array([0.3, -0.2, 0.1, 0, 0.5, 0, 0])
    goal = HOME[:ARM] + speed
    motion = travel(motion.sample(0.0), goal, 0.0, LIMITS, 0.5)
    time = motion.end / 2
    state = motion.sample(time)
    stop = brake(motion, time, LIMITS)
    turned = [stop.sample(t)[0] - state[0] for t in np.linspace(time, stop.end, 20)[1:]]
    for place in turned:
        np.testing.assert_allclose(np.cross(place[:3], state[1, :3]), 0, atol=1e-5)
    assert stop.end - time <= stopping_time(state, LIMITS)


def test_a_joint_close_to_its_end_is_braked_by_itself():
    # Joint 1 heads for the end of its range and brakes in time; joint 5 needs longer to stop.
    state = np.zeros((3, ARM))
    state[0] = HOME[:ARM]
    state[0, 0], state[1, 0], state[1, 4] = LIMITS.upper[0] - 0.03, 0.7, 5.0
    goal = state[0].copy()
    goal[0], goal[4] = LIMITS.upper[0], HOME[4] + 2.0
    motion = travel(state, goal, 0.0, LIMITS, 1.0)
    stop = brake(motion, 0.0, LIMITS)
    check_curve(stop)
    assert stop.end <= stopping_time(state, LIMITS)


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.floats(0.05, 1.0))
def test_an_approach_arrives_at_its_share_of_the_limits(seed, share):
    generator = np.random.default_rng(seed)
    limits = random_limits(generator)
    state = np.zeros((3, ARM))
    state[0] = generator.uniform(limits.lower, limits.upper)[:ARM]
    goal = generator.uniform(limits.lower, limits.upper)[:ARM]
    motion = travel(state, goal, 5.0, limits, share)
    np.testing.assert_allclose(motion.rest, goal, atol=1e-6)
    check_curve(motion, limits, dt=0.01)
    speed = np.abs([motion.sample(t)[1] for t in np.linspace(5.0, motion.end, 200)]).max(0)
    assert (speed <= share * limits.velocity[limits.arm] * (1 + 1e-6)).all()


@settings(max_examples=200, deadline=None)
@given(SEEDS)
def test_catching_up_meets_the_motion_and_then_follows_it(seed):
    generator = np.random.default_rng(seed)
    limits = random_limits(generator)
    motion = fit(random_plan(generator, limits=limits), 0.0, limits).motion.stretched(1.2)
    state = np.zeros((3, ARM))
    state[0] = np.clip(HOME[:ARM] + generator.normal(size=ARM) * 0.1, -2.5, -0.2)
    way = catch(state, motion, limits)
    assert way is not None
    np.testing.assert_allclose(way.sample(motion.start), state, atol=1e-9)
    met = np.linspace(motion.start, way.end, 100)
    apart = np.abs(way.positions(met) - motion.positions(met)).max(1) > 1e-6
    assert not apart[-1]
    times = np.arange(way.start, way.end, 0.002)
    speed = np.abs(np.diff(way.positions(times), axis=0) / 0.002).max(0, initial=0)
    assert (speed <= limits.velocity[limits.arm] * (1 + 1e-6)).all()


def test_no_way_is_said():
    state = np.zeros((3, ARM))
    state[1, 0] = np.nan
    with pytest.raises(ValueError, match="no way"):
        travel(state, HOME[:ARM], 0.0, LIMITS, 1.0)
    assert catch(state, Curve.still(HOME[:ARM], 0.0), LIMITS) is None
