# SPDX-License-Identifier: Apache-2.0
"""The scripted expert: where it ends, what it avoids, and that half-way plans agree."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dm0_ros.robots import load_robot
from dm0_ros.training.reach import PoseTable, ReachExpert, ReachSettings, Region

SETTINGS = ReachSettings(speed=0.25, acceleration=0.5, clearance=0.10, funnel=0.06, press=0.006)
LOWER, UPPER = np.array([0.36, -0.12, 0.04]), np.array([0.56, 0.12, 0.28])
STEP = 0.1


@pytest.fixture(scope="module")
def expert():
    franka = load_robot("franka")
    table = PoseTable(franka, franka.end_effectors[0], Region(LOWER, UPPER), spacing=0.04)
    return ReachExpert(table, SETTINGS)


def place(fractions):
    return LOWER + np.array(fractions) * (UPPER - LOWER)


fractions = st.tuples(*[st.floats(0.0, 1.0)] * 3)


@given(start=fractions, spot=fractions)
@settings(max_examples=50, deadline=None)
def test_path_ends_on_the_object_and_comes_from_above(expert, start, spot):
    target = np.array([*place(spot)[:2], 0.05])
    path = expert.path(place(start)[None], target[None], 60, STEP)[0]
    np.testing.assert_allclose(path[-1], target - [0, 0, SETTINGS.press], atol=1e-3)
    speed = np.linalg.norm(np.diff(path, axis=0), axis=1) / STEP
    assert speed.max() <= SETTINGS.speed * np.sqrt(2) + 1e-9
    # Once high enough, the path never dips below the object's top while still beside it.
    beside = np.linalg.norm(path[:, :2] - target[:2], axis=1) > SETTINGS.funnel
    above = path[0, 2] > target[2] + SETTINGS.clearance
    assert not above or np.all(path[beside, 2] > target[2])


@given(start=fractions, spot=fractions, row=st.integers(1, 30))
@settings(max_examples=30, deadline=None)
def test_a_plan_made_half_way_continues_the_first(expert, start, spot, row):
    target = np.array([[*place(spot)[:2], 0.05]])
    first = expert.path(place(start)[None], target, 60, STEP)[0]
    second = expert.path(first[row][None], target, 60 - row, STEP)[0]
    np.testing.assert_allclose(second, first[row:], atol=1e-9)


def test_plan_starts_where_the_arm_is_even_off_the_table(expert):
    joints = expert.table.positions(place((0.5, 0.5, 0.5))) + 0.05
    plan = expert.plan(joints, np.array([[0.5, 0.1, 0.05], [0.4, -0.1, 0.05]]), 50, STEP)
    np.testing.assert_allclose(plan[:, 0], np.stack([joints, joints]), atol=1e-12)
    tip = expert.table.chain.pose(dict(zip(expert.table.names, plan[0, -1], strict=True)))
    np.testing.assert_allclose(tip[:3, 3], [0.5, 0.1, 0.05 - SETTINGS.press], atol=5e-3)


def test_table_is_near_the_exact_solution(expert):
    random = np.random.default_rng(0)
    for _ in range(50):
        wanted = random.uniform(LOWER, UPPER)
        joints = dict(zip(expert.table.names, expert.table.positions(wanted), strict=True))
        assert np.linalg.norm(expert.table.chain.pose(joints)[:3, 3] - wanted) < 3e-3
