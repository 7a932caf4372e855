# SPDX-License-Identifier: Apache-2.0
"""Plans that are refused, and set-points that keep to the limits."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dm0_ros.control import Chunk, Limits
from dm0_ros.control.limiter import Limiter
from dm0_ros.errors import PlanError
from dm0_ros.robots import load_robot
from dm0_ros.robots.spec import Space

ROBOT = load_robot("franka")
LIMITS = Limits.from_robot(ROBOT)
HOME = np.array([ROBOT.home[name] for name in ROBOT.column_names])
DT = 0.01
CHUNK = Chunk(
    0.0, 0.1, Space.JOINT_POSITION, ROBOT.column_names, np.tile(HOME, (5, 1)), sequence=1, epoch=0
)


def refuse(match, **changes):
    with pytest.raises(PlanError, match=match):
        LIMITS.arrange(replace(CHUNK, **changes))


def changed(row, column, value):
    values = CHUNK.values.copy()
    values[row, column] = value
    return values


def test_columns_are_found_by_name():
    order = np.random.default_rng(0).permutation(8)
    chunk = replace(
        CHUNK,
        names=tuple(ROBOT.column_names[index] for index in order),
        values=CHUNK.values[:, order],
    )
    np.testing.assert_array_equal(LIMITS.arrange(chunk), CHUNK.values)


def test_what_is_wrong_with_a_plan_is_named():
    names = ROBOT.column_names
    refuse("fr3_joint3 is nan in row 2", values=changed(2, 2, np.nan))
    refuse("fr3_joint7 is inf in row 0", values=changed(0, 6, np.inf))
    refuse(r"fr3_joint1: row 4 wants 1e\+09, far outside", values=changed(4, 0, 1e9))
    refuse("unknown column elbow", names=("elbow", *names[1:]))
    refuse("lacks fr3_joint1", names=names[1:], values=CHUNK.values[:, 1:])
    refuse("names fr3_joint2 twice", names=(names[1], *names[1:]))
    refuse("shape", values=CHUNK.values[:, :3])
    refuse("shape", values=CHUNK.values[:0])
    refuse("at most 1000", values=np.zeros((1001, 8)))
    refuse("step of 0", step=0.0)
    refuse("step of -0.1", step=-0.1)
    refuse("step of nan", step=np.nan)
    refuse("starts at nan", start=np.nan)
    refuse("eef_pose space", space=Space.EEF_POSE)


def test_first_row_far_from_the_robot_names_joint_distance_and_limit():
    first = HOME.copy()
    first[3] += 0.4
    with pytest.raises(PlanError, match=r"fr3_joint4.*0\.400 rad.*0\.350 rad"):
        LIMITS.check_first(first, HOME)
    first[3] = HOME[3] + 0.3
    first[7] = 0.08  # a gripper may open from anywhere
    LIMITS.check_first(first, HOME)


def check_step(limiter, before, velocity, dt):
    change = limiter.position - before
    assert np.isfinite(limiter.position).all()
    assert (np.abs(change) <= LIMITS.velocity * dt + 1e-9).all()
    rate = (change / dt - velocity) / dt
    assert (np.abs(rate) <= LIMITS.acceleration * (1 + 1e-6) + 1e-6).all()
    assert (limiter.position >= LIMITS.lower - 1e-9).all()
    assert (limiter.position <= LIMITS.upper + 1e-9).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 6.0), st.floats(0.0, 1.0))
def test_no_step_breaks_a_limit_whatever_is_wanted(seed, size, jitter):
    generator = np.random.default_rng(seed)
    limiter = Limiter(LIMITS, HOME)
    wanted = np.zeros((3, 8))
    for index in range(150):
        if index % 10 == 0 or size > 5:
            wanted = generator.normal(size=(3, 8)) * [[size], [3 * size], [30 * size]]
        dt = DT * (1 + jitter * generator.uniform(-0.9, 2))
        before, velocity = limiter.position, limiter.velocity
        if generator.random() < 0.05:
            limiter.brake(dt)
        else:
            limiter.follow(wanted, dt)
        check_step(limiter, before, velocity, dt)


def test_a_motion_within_the_limits_passes_without_lag():
    limiter = Limiter(LIMITS, HOME)
    rate = 2 * np.pi * 0.7
    reach = 0.4  # 7.7 rad/s2 at the turning points, of 10
    for index in range(1, 400):
        time = index * DT
        ramp = 1 - np.cos(rate * time)
        wanted = np.stack(
            [
                HOME + reach * ramp * np.eye(8)[0],
                reach * rate * np.sin(rate * time) * np.eye(8)[0],
                reach * rate**2 * np.cos(rate * time) * np.eye(8)[0],
            ]
        )
        limiter.follow(wanted, DT)
        assert limiter.binding == ()
        np.testing.assert_allclose(limiter.position, wanted[0], atol=1e-12)
        np.testing.assert_allclose(limiter.state, wanted, atol=1e-12)


def test_a_far_goal_is_reached_fast_and_without_overshoot():
    limiter = Limiter(LIMITS, HOME)
    wanted = np.stack([HOME + np.eye(8)[0], np.zeros(8), np.zeros(8)])
    path, bound = [], set()
    for _ in range(120):
        limiter.follow(wanted, DT)
        bound.update(limiter.binding)
        path.append(limiter.position[0])
    # Time-optimal under 10 rad/s2 for 1 rad: 0.63 s.
    assert max(path) <= HOME[0] + 1 + 1e-9
    assert abs(path[80] - HOME[0] - 1) < 1e-3
    assert bound == {"fr3_joint1: velocity", "fr3_joint1: acceleration"}
    assert limiter.at_rest


def test_a_goal_beyond_the_range_stops_at_its_end_and_says_so():
    limiter = Limiter(LIMITS, HOME)
    wanted = np.stack([HOME + 0.9 * np.eye(8)[3] * 5, np.zeros(8), np.zeros(8)])
    for _ in range(300):
        limiter.follow(wanted, DT)
    assert limiter.binding == ("fr3_joint4: position",)
    assert limiter.position[3] == pytest.approx(LIMITS.upper[3], abs=1e-6)


def test_braking_keeps_the_direction_and_the_limits():
    limiter = Limiter(LIMITS, HOME)
    drift = np.array([0.3, -0.2, 0.1, 0, 0.5, 0, 0, 0])
    wanted = np.zeros((3, 8))
    for index in range(60):
        speed = min(1.0, index / 30)
        wanted = np.stack([limiter.position + drift * speed * DT, drift * speed, np.zeros(8)])
        limiter.follow(wanted, DT)
    direction = limiter.velocity / np.linalg.norm(limiter.velocity)
    place, duration = limiter.stopping_place()
    steps = 0
    while not limiter.at_rest:
        before, velocity = limiter.position, limiter.velocity
        limiter.brake(DT)
        check_step(limiter, before, velocity, DT)
        np.testing.assert_allclose(np.cross(limiter.velocity[:3], direction[:3]), 0, atol=1e-12)
        steps += 1
    assert steps * DT <= duration + 2 * DT
    np.testing.assert_allclose(limiter.position, place, atol=5e-3)
