# SPDX-License-Identifier: Apache-2.0
"""What a new plan has to keep of the old one."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm0_ros.policy.commitment import Commitments
from dm0_ros.policy.protocol import Latency, Plan, PolicySpec
from dm0_ros.robots.spec import Space

HORIZON, STEP = 20, 0.1
SPEC = PolicySpec("p", ("eye",), ("a", "b"), ("a", "b"), Space.JOINT_POSITION, HORIZON, STEP)


def make_plan(start, rows=HORIZON):
    """Columns that say when they are due."""
    due = start + STEP * np.arange(rows)
    values = np.stack([due, -2 * due], axis=1)
    return Plan(start, STEP, SPEC.space, SPEC.action_names, values, math.nan, Latency(0, 0, 0, 0))


def after(delays, period=0.4, start=10.0):
    commitments = Commitments(SPEC, period)
    for delay in delays:
        commitments.note(make_plan(start), delay)
    return commitments


@given(age=st.floats(0.0, 1.2), delay=st.floats(0.0, 0.45))
def test_rows_are_those_due_from_the_observation_on(age, delay):
    prefix = after([9.0, delay]).commit(10.0 + age)
    due = 10.0 + age + STEP * np.arange(len(prefix.rows))
    np.testing.assert_allclose(prefix.rows, np.stack([due, -2 * due], axis=1), atol=1e-9)
    assert due[-1] <= 10.0 + STEP * (HORIZON - 1) + 1e-6 < due[-1] + STEP + 2e-6
    assert prefix.delay == math.ceil(delay / STEP)
    assert prefix.executed == max(4, prefix.delay)


def test_the_first_delay_is_left_out_and_one_straggler_of_many_counts_little():
    assert math.isnan(after([5.0]).delay)
    assert after([5.0, 0.2]).delay == pytest.approx(0.2)
    assert after([5.0] + [0.2] * 49 + [3.0]).delay < 0.3


@pytest.mark.parametrize(
    ("delays", "stamp", "words"),
    [
        ([], 10.0, "no delay was measured yet"),
        ([0.1], 10.0, "no delay was measured yet"),
        ([0.1, 1.1], 10.0, "11 rows and 11 executed ones do not fit a chunk of 20"),
        ([0.1, 0.5], 11.6, "only 4 rows of the last plan are left, the delay is 5"),
        ([0.1, 0.5], 20.0, "only 0 rows"),
    ],
)
def test_where_nothing_can_be_kept_it_says_why(delays, stamp, words):
    commitments = after(delays)
    assert commitments.commit(stamp) is None
    assert words in commitments.refusal


def test_the_newest_plan_counts():
    commitments = after([0.1, 0.2])
    commitments.note(make_plan(10.3), 0.2)
    assert commitments.commit(10.5).rows[0, 0] == pytest.approx(10.5)
    assert len(commitments.commit(10.5).rows) == HORIZON - 2
    assert commitments.refusal == ""
