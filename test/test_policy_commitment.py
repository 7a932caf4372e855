# SPDX-License-Identifier: Apache-2.0
"""What a new plan has to keep of the old one."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm0_ros.policy.commitment import Commitments, Execution
from dm0_ros.policy.protocol import Latency, Plan, PolicySpec
from dm0_ros.robots.spec import Space

HORIZON, STEP = 20, 0.1
SPEC = PolicySpec("p", ("eye",), ("a", "b"), ("a", "b"), Space.JOINT_POSITION, HORIZON, STEP)


def make_plan(start, rows=HORIZON):
    """Columns that say when they are due."""
    due = start + STEP * np.arange(rows)
    values = np.stack([due, -2 * due], axis=1)
    return Plan(start, STEP, SPEC.space, SPEC.action_names, values, math.nan, Latency(0, 0, 0, 0))


MOVING = Execution(sequence=0, dropped=0, resting=False)


def follow(sequence, dropped=0, resting=False):
    return Execution(sequence, dropped, resting)


def after(delays, period=0.4, start=10.0):
    """Plans 1, 2 ... from the same observation, each that late, for an arm in motion."""
    commitments = Commitments(SPEC, period, 0.0)
    for index, delay in enumerate(delays):
        commitments.note(make_plan(start), index + 1, start + delay, MOVING)
    return commitments


@given(age=st.floats(0.0, 1.2), delay=st.floats(0.0, 0.45))
def test_rows_are_those_due_from_the_observation_on(age, delay):
    commitments = after([9.0, delay])
    prefix = commitments.commit(10.0 + age, MOVING)
    due = 10.0 + age + STEP * np.arange(len(prefix.rows))
    np.testing.assert_allclose(prefix.rows, np.stack([due, -2 * due], axis=1), atol=1e-9)
    assert due[-1] <= 10.0 + STEP * (HORIZON - 1) + 1e-6 < due[-1] + STEP + 2e-6
    assert prefix.delay == math.ceil(commitments.delay / STEP)
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
        ([0.1, 1.05], 10.0, "11 rows and 11 executed ones do not fit a chunk of 20"),
        ([0.1, 0.45], 11.6, "only 4 rows of the plan are left, the delay is 5"),
        ([0.1, 0.45], 20.0, "only 0 rows"),
    ],
)
def test_where_nothing_can_be_kept_it_says_why(delays, stamp, words):
    commitments = after(delays)
    assert commitments.commit(stamp, MOVING) is None
    assert words in commitments.refusal


def test_the_newest_plan_counts_until_it_is_known_to_be_refused():
    commitments = after([0.1, 0.15])
    commitments.note(make_plan(10.3), 3, 10.45, follow(2))
    assert commitments.commit(10.5, follow(2)).rows[0, 0] == pytest.approx(10.5)
    assert len(commitments.commit(10.5, follow(2)).rows) == HORIZON - 2
    assert commitments.refusal == ""
    # It was: then the one before goes on, which has fewer rows left.
    assert len(commitments.commit(10.5, follow(2, dropped=1)).rows) == HORIZON - 5
    # A later one that is taken counts again, whatever else is refused.
    commitments.note(make_plan(10.5), 4, 10.65, follow(2, dropped=1))
    assert len(commitments.commit(10.5, follow(4, dropped=2)).rows) == HORIZON


def test_where_all_were_refused_or_are_over_nothing_is_kept():
    refused = after([0.1, 0.15])
    assert refused.commit(10.5, follow(0, dropped=2)) is None
    assert refused.refusal == "the executor follows no plan"
    over = after([0.1, 0.15])
    assert over.commit(10.5, follow(2, resting=True)) is None
    assert over.refusal == "the executor follows no plan"


def test_a_reset_voids_what_was_sent_before():
    commitments = after([0.1, 0.15])
    assert commitments.commit(10.5, follow(2)) is not None
    assert commitments.commit(10.5, follow(0, resting=True)) is None


@given(age=st.floats(0.0, 1.0), latency=st.floats(0.0, 0.2))
def test_plans_of_a_resting_arm_begin_when_it_does(age, latency):
    """Two that were observed before anything moved are in step, as they are in the executor."""
    commitments = Commitments(SPEC, 0.4, latency)
    begun = 10.4
    commitments.note(make_plan(10.0), 1, begun, follow(0, resting=True))
    commitments.note(make_plan(10.3), 2, 10.7, follow(1))
    rows = commitments.commit(begun + latency + age, follow(2)).rows
    assert rows[0, 0] == pytest.approx(10.3 + age)
