# SPDX-License-Identifier: Apache-2.0
"""From one plan to the next."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dm0_ros.control import Blend, Limits, Replace, Trajectory
from dm0_ros.robots import load_robot

LIMITS = Limits.from_robot(load_robot("franka"))
ARM = np.zeros(8, dtype=bool)
ROWS = arrays(np.float64, (20, 8), elements=st.floats(-0.5, 0.5))


def make(start, values):
    return Trajectory(start, 0.1, values, ARM)


@settings(max_examples=30, deadline=None)
@given(ROWS, ROWS, st.floats(0.0, 1.5))
def test_blend_leaves_the_old_smoothly_and_becomes_the_new(old_rows, new_rows, now):
    old, new = make(0.0, old_rows), make(0.3, new_rows)
    motion = Blend(0.3).join(old, new, now, LIMITS)
    begin = max(now, 0.3)
    np.testing.assert_allclose(motion.sample(begin), old.sample(begin), atol=1e-6)
    np.testing.assert_array_equal(motion.sample(motion.done), new.sample(motion.done))
    times = np.arange(begin - 0.05, motion.done + 0.05, 2e-4)
    samples = np.array([motion.sample(time) for time in times])
    # The next sample is what position, velocity and acceleration of this one promise.
    step = 2e-4
    promised = samples[:-1, 0] + step * samples[:-1, 1] + step**2 / 2 * samples[:-1, 2]
    np.testing.assert_allclose(samples[1:, 0], promised, atol=4e-7)
    jumps = np.abs(np.diff(samples[:, 2], axis=0)).max()
    assert jumps < 0.05 * (1 + np.abs(samples[:, 2]).max())


def test_a_wide_gap_takes_as_long_as_half_the_limits_need():
    old, new = make(0.0, np.zeros((20, 8))), make(0.0, np.full((20, 8), 0.3))
    motion = Blend(0.1).join(old, new, 0.0, LIMITS)
    samples = np.array([motion.sample(time) for time in np.linspace(0, motion.done, 200)])
    assert np.abs(samples[:, 2, :7]).max() == pytest.approx(5.0, rel=0.02)
    assert (np.abs(samples[:, 1, :7]).max(0) <= 0.51 * LIMITS.velocity[:7]).all()


def test_a_flood_of_plans_does_not_pile_up():
    motion = make(0.0, np.zeros((20, 8)))
    generator = np.random.default_rng(0)
    for index in range(200):
        now = index * 0.002
        before = motion.sample(now)
        motion = Blend(0.3).join(
            motion, make(now, generator.normal(size=(20, 8)) * 0.1), now, LIMITS
        )
        assert motion.depth <= 4
        np.testing.assert_allclose(motion.sample(now), before, atol=1e-6)


def test_replace_is_the_new_plan_at_once():
    old, new = make(0.0, np.zeros((20, 8))), make(0.0, np.ones((20, 8)))
    assert Replace().join(old, new, 0.5, LIMITS) is new
