# SPDX-License-Identifier: Apache-2.0
"""Robots, plans and checks that the tests of control/ share."""

from dataclasses import replace

import numpy as np

from dm0_ros.control import Limits
from dm0_ros.control.plan import Plan
from dm0_ros.robots import load_robot

FRANKA = load_robot("franka")
# The tests count on these times, whatever is right for the real arm.
SETTINGS = replace(FRANKA.executor, rate=100.0, blend_time=0.3, state_timeout=0.25)
ROBOT = replace(FRANKA, executor=SETTINGS)
NAMES = ROBOT.column_names
LIMITS = Limits.from_robot(ROBOT)
HOME = np.array([ROBOT.home[name] for name in NAMES])
ARM = LIMITS.joints


def random_limits(generator):
    """Limits of another robot: from heavy and slow to light, and with little jerk."""
    acceleration = LIMITS.acceleration.copy()
    jerk = LIMITS.jerk.copy()
    velocity = LIMITS.velocity.copy()
    velocity[:ARM] *= generator.uniform(0.3, 1.5, ARM)
    acceleration[:ARM] = generator.uniform(2.0, 20.0, ARM)
    jerk[:ARM] = acceleration[:ARM] * 10 ** generator.uniform(0.7, 3.0)
    return replace(LIMITS, velocity=velocity, acceleration=acceleration, jerk=jerk)


def random_plan(generator, sequence=1, start=0.0, limits=LIMITS, origin=HOME):
    """Rows from calm to wild, some of them beyond the range of a joint."""
    rows = int(generator.integers(1, 40))
    size = generator.choice([0.003, 0.02, 0.1, 0.5])
    values = origin + np.cumsum(generator.normal(size=(rows, 8)) * size, axis=0)
    if generator.random() < 0.5:  # smooth, as of a policy that does not jitter
        values = origin + np.cumsum(np.cumsum(values - origin, axis=0) * 0.01, axis=0)
    values, _ = limits.clamp(values)
    return Plan(sequence, start, float(generator.choice([0.02, 0.033, 0.1, 0.2])), values)


def divided(times, values, order):
    """Derivatives of ``order`` as divided differences (n, D): means of the true ones."""
    factor = 1
    for count in range(1, order + 1):
        values = np.diff(values, axis=0) / (times[count:] - times[:-count])[:, None]
        factor *= count
    return factor * values


def check_path(times, path, limits=LIMITS, share=1e-6):
    """Arm positions (n, D) at ``times`` keep every limit, as differences of any spacing.

    Rounding of positions and times, divided by powers of their spacing, is left out.
    """
    times, path = np.asarray(times), np.asarray(path)[:, : limits.joints]
    assert np.isfinite(path).all()
    arm = limits.arm
    assert (path >= limits.lower[arm] - 1e-8).all() and (path <= limits.upper[arm] + 1e-8).all()
    least = np.diff(times).min(initial=1.0)
    for order, limit in enumerate((limits.velocity, limits.acceleration, limits.jerk), 1):
        if len(times) > order:
            most = np.abs(divided(times, path, order)).max(0)
            rounding = 4e-9 / least**order if order == 3 else 1e-10 / least**order
            assert (most <= limit[arm] * (1 + share) + rounding).all(), (order, most / limit[arm])


def check_curve(motion, limits=LIMITS, dt=0.002):
    """A motion keeps every limit at any rate, has no jumps, and ends at rest."""
    times = np.arange(motion.start, motion.end + 0.02, dt)
    check_path(times, motion.positions(times), limits)
    states = np.array([motion.sample(time) for time in times])
    arm = limits.arm
    assert (np.abs(states[:, 1]) <= limits.velocity[arm] * (1 + 1e-6)).all()
    assert (np.abs(states[:, 2]) <= limits.acceleration[arm] * (1 + 1e-6)).all()
    # C2: an acceleration never changes by more than its jerk allows in the time between.
    most = limits.jerk[arm] * dt * (1 + 1e-6) + 1e-5
    assert (np.abs(np.diff(states[:, 2], axis=0)) <= most).all()
    assert not motion.sample(motion.end)[1:].any()
