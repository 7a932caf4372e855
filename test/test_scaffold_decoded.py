# SPDX-License-Identifier: Apache-2.0
"""Bins are the formula's, and rows of them are a plan that starts where the robot is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dm0_ros.errors import ScaffoldError
from dm0_ros.scaffold.bins import from_bins, to_bins
from dm0_ros.scaffold.content import BINS
from dm0_ros.scaffold.decoded import decode_rows, disagreement, encode_rows

NAN = float("nan")
VALUES = st.floats(-3, 3)


@pytest.mark.parametrize(
    ("value", "index"),
    [(-1, 0), (0, 127), (1, 254), (-7, 0), (7, 254), (0.5, 190), (-0.996, 1), (-0.997, 0)],
)
def test_bins_are_those_of_the_formula(value, index):
    assert to_bins(value) == index


@given(value=VALUES)
def test_bins_are_the_formula_written_plainly(value):
    assert to_bins(value) == min(max(round((value + 1) / 2 * 254), 0), 254)


def test_every_bin_is_its_own_value():
    every = np.arange(BINS)
    values = from_bins(every)
    assert values.dtype == np.float32
    assert values[[0, 127, 254]].tolist() == [-1, 0, 1]
    assert np.allclose(values, every / 254 * 2 - 1, atol=1e-7)
    assert np.array_equal(to_bins(values), every)


@given(values=arrays(np.float64, (3, 4), elements=st.floats(-1, 1)))
def test_a_bin_is_off_by_half_a_bin_at_most(values):
    assert np.abs(from_bins(to_bins(values)) - values).max() <= 1 / 254 + 1e-6


@pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf")])
def test_what_is_not_finite_has_no_bin(value):
    with pytest.raises(ScaffoldError, match=r"action \[1, 0\] is .*; it must be finite"):
        to_bins([[0.0, 0.0], [value, 0.0]])


@pytest.mark.parametrize(
    ("bins", "reason"),
    [
        ([0, 255], r"bin \[1\] is 255; bins are 0 to 254"),
        ([-1], r"bin \[0\] is -1"),
        ([1.5], "bins must be whole numbers, found float64"),
        ([NAN], "bins must be whole numbers, found float64"),
        ([10**30], "bins must be whole numbers, found object"),
    ],
)
def test_what_is_no_bin_has_no_value(bins, reason):
    with pytest.raises(ScaffoldError, match=reason):
        from_bins(bins)


def test_rows_between_are_on_a_line_and_the_last_is_held():
    plan = decode_rows((127, 254), (2, 4), 7, start=[-1.0])
    assert plan.dtype == np.float32 and plan.shape == (7, 1)
    assert plan[:, 0].tolist() == pytest.approx([-1, -0.5, 0, 0.5, 1, 1, 1])


def test_data_whose_first_row_is_the_next_state_start_a_row_earlier():
    plan = decode_rows((127,), (1,), 3, start=[-1.0], present=-1)
    assert plan[:, 0].tolist() == pytest.approx([-0.5, 0, 0])


def test_absolute_columns_have_their_first_value_from_the_beginning():
    plan = decode_rows((254, 0, 254, 127), (2, 4), 6, start=[0.0, NAN])
    assert plan[:, 0].tolist() == pytest.approx([0, 0.5, 1, 1, 1, 1])
    assert plan[:, 1].tolist() == pytest.approx([-1, -1, -1, -0.5, 0, 0])


def test_a_row_that_is_told_stands_above_the_start():
    plan = decode_rows((254, 0), (0, 1), 3, start=[0.0])
    assert plan[:, 0].tolist() == [1, -1, -1]


@given(
    plan=arrays(np.float64, (8, 3), elements=st.floats(-1, 1)),
    rows=st.sets(st.integers(0, 7), min_size=1).map(sorted),
)
def test_the_rows_that_were_told_come_back(plan, rows):
    decoded = decode_rows(encode_rows(plan, rows), rows, 8, start=np.zeros(3))
    assert np.abs(decoded[rows] - plan[rows]).max() <= 1 / 254 + 1e-6


@given(begin=st.floats(-1, 1), end=st.floats(-1, 1))
def test_a_straight_motion_comes_back_whole(begin, end):
    plan = np.linspace(begin, end, 11)[:, None]
    decoded = decode_rows(encode_rows(plan, (5, 10)), (5, 10), 11, start=[begin])
    assert disagreement(plan, decoded).largest <= 1 / 254 + 1e-6


@pytest.mark.parametrize(
    ("actions", "rows", "start", "reason"),
    [
        ((1, 2, 3), (1, 3), [0.0, 0.0], "there are 3 actions; 2 rows of 2 columns are 4"),
        ((), (1,), [0.0], "there are 0 actions"),
        ((1, 300), (1,), [0.0, 0.0], r"bin \[1\] is 300"),
        ((1,), (), [0.0], r"action rows \[\] must be some"),
        ((1,), (5,), [0.0], r"action rows \[5\] must be some, rising, from 0 to 4"),
        ((1,), (-1,), [0.0], "must be some, rising"),
        ((1, 1), (2, 2), [0.0], "must be some, rising"),
        ((1,), (1,), [float("inf")], "start must be"),
        ((1,), (1,), 0.0, "start must be"),
    ],
)
def test_actions_that_are_no_plan_are_refused(actions, rows, start, reason):
    with pytest.raises(ScaffoldError, match=reason):
        decode_rows(actions, rows, 5, start)


def test_rows_that_cannot_be_told_are_refused():
    with pytest.raises(ScaffoldError, match=r"expected rows \(H, D\)"):
        encode_rows(np.zeros(4), (0,))
    with pytest.raises(ScaffoldError, match="from 0 to 3"):
        encode_rows(np.zeros((4, 2)), (4,))


def test_disagreement_says_how_much_and_where():
    continuous, discrete = np.zeros((4, 3)), np.zeros((4, 3))
    discrete[2, 1] = 0.6
    found = disagreement(continuous, discrete)
    assert (found.row, found.column) == (2, 1)
    assert found.largest == pytest.approx(0.6) and found.mean == pytest.approx(0.05)


def test_beyond_the_outermost_bins_nothing_disagrees():
    assert disagreement([[2.5, -1.2]], [[1.0, -1.0]]).largest == 0


@pytest.mark.parametrize("other", [np.zeros((2, 2)), np.zeros((0, 2)), [[NAN, 0.0, 0.0]]])
def test_plans_that_do_not_compare_are_refused(other):
    with pytest.raises(ScaffoldError, match="compare"):
        disagreement(np.zeros((1, 3)) if len(other) else other, other)
