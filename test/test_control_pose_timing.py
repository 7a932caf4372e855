# SPDX-License-Identifier: Apache-2.0
"""Time along a path of joints: as planned where that is possible, later where limits bind."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dm0_ros.control.pose_timing import JointPath, PathClock

seeds = st.integers(0, 100_000)
VELOCITY, ACCELERATION = np.array([2.0, 3.0]), np.array([10.0, 8.0])


def waves(seed, frequency):
    """Two joints that swing by about 1 rad and come to rest, at uneven nodes; and the function."""
    random = np.random.default_rng(seed)
    times = np.concatenate([[0.0], np.cumsum(random.choice([0.01, 0.02, 0.04], 80))])
    phases = random.uniform(0, 6, 2)

    def swing(time):
        eased = time - time**2 / (2 * times[-1])
        return np.sin(frequency * np.reshape(eased, (-1, 1)) + phases)

    return JointPath(times, swing(times), frequency * np.cos(phases)), swing


@given(seed=seeds)
@settings(max_examples=30, deadline=None)
def test_path_between_nodes_is_the_smooth_one(seed):
    path, swing = waves(seed, 2.0)
    times = np.linspace(0, path.times[-1], 500)
    np.testing.assert_allclose(path.sample(times), swing(times), atol=2e-4)
    np.testing.assert_array_equal(path.sample(path.times), path.joints)
    tiny = 1e-4
    ahead, behind = swing(path.times + tiny), swing(path.times - tiny)
    np.testing.assert_allclose(path.slopes(), (ahead - behind) / (2 * tiny), atol=0.03)
    bends = (ahead - 2 * path.joints + behind) / tiny**2
    np.testing.assert_allclose(path.bends()[1:-1], bends[1:-1], atol=0.2)


def test_two_nodes_are_one_cubic():
    path = JointPath(np.array([0.0, 0.5]), np.array([[0.0, 1.0], [1.0, 0.0]]), np.zeros(2))
    found = path.sample(np.array([0.0, 0.125, 0.25, 0.5]))
    np.testing.assert_allclose(found, [[0, 1], [0.15625, 0.84375], [0.5, 0.5], [1, 0]])


@given(seed=seeds)
@settings(max_examples=30, deadline=None)
def test_a_slow_path_keeps_its_times(seed):
    path, _ = waves(seed, 1.0)
    clock = PathClock(path, VELOCITY, ACCELERATION)
    assert clock.end == path.times[-1]
    assert not clock.bound.any()
    times = np.linspace(0, clock.end, 50)
    np.testing.assert_allclose(clock.plan_times(times), times, atol=1e-12)


@given(seed=seeds, frequency=st.floats(6.0, 20.0))
@settings(max_examples=50, deadline=None)
def test_a_fast_path_is_followed_later_within_limits(seed, frequency):
    path, _ = waves(seed, frequency)
    clock = PathClock(path, VELOCITY, ACCELERATION)
    assert clock.end > path.times[-1]
    assert clock.bound.any()
    times = np.linspace(0, clock.end, 2000)
    plan_times = clock.plan_times(times)
    rates = np.diff(plan_times) / np.diff(times)
    assert np.all(rates > 0) and np.all(rates <= 1 + 1e-9)
    assert plan_times[0] == 0 and abs(plan_times[-1] - path.times[-1]) < 1e-9
    speeds = np.abs(np.diff(path.sample(plan_times), axis=0)) / np.diff(times)[:, None]
    assert np.all(speeds <= 1.05 * VELOCITY)


def test_it_slows_only_around_where_limits_bind():
    """A joint that leaps once: the plan's pace before and after is its own."""
    times = np.linspace(0, 4, 401)
    leap = 1 / (1 + np.exp(-(times - 2) / 0.02))
    path = JointPath(times, np.column_stack([leap, 0 * leap]), np.zeros(2))
    clock = PathClock(path, VELOCITY, ACCELERATION)
    samples = np.linspace(0, clock.end, 1000)
    plan_times = clock.plan_times(samples)
    rates = np.gradient(plan_times, samples)
    assert rates[np.abs(plan_times - 2) > 1].min() > 0.999
    assert rates.min() < 0.2
    np.testing.assert_array_equal(clock.bound, [[True, False], [True, False]])
