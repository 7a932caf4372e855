# SPDX-License-Identifier: Apache-2.0
"""ObjectNav's metrics on cases worked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from dm0_ros.navigation.metrics import Result, summarise


def make_result(stopped=True, start=4.0, end=0.0, travelled=4.0, category="chair"):
    return Result(category, stopped, start, end, travelled, steps=10)


CASES = [
    # stopped, L, d, P: S, SPL, SoftSPL
    ((True, 4.0, 0.0, 4.0), (1, 1.0, 1.0)),
    ((True, 4.0, 0.0, 8.0), (1, 0.5, 0.5)),
    ((True, 4.0, 0.05, 5.0), (1, 0.8, (1 - 0.05 / 4) * 0.8)),
    # a shorter way than the shortest (view points are reached within 0.1 m): not above 1
    ((True, 4.0, 0.05, 3.95), (1, 1.0, 1 - 0.05 / 4)),
    # near, but not near enough; 0.1 itself does not count
    ((True, 4.0, 0.1, 4.0), (0, 0.0, 0.975)),
    ((True, 4.0, 1.0, 6.0), (0, 0.0, 0.75 * 4 / 6)),
    # there, without saying so
    ((False, 4.0, 0.0, 4.0), (0, 0.0, 1.0)),
    # further away than at the start
    ((True, 4.0, 6.0, 2.0), (0, 0.0, 0.0)),
    # never moved
    ((True, 4.0, 4.0, 0.0), (0, 0.0, 0.0)),
    # began at the goal: stopped at once, wandered and came back, wandered off
    ((True, 0.0, 0.0, 0.0), (1, 1.0, 1.0)),
    ((True, 0.0, 0.0, 2.0), (1, 0.0, 0.0)),
    ((True, 0.0, 1.0, 1.0), (0, 0.0, 0.0)),
    ((False, 0.0, 0.0, 0.0), (0, 0.0, 1.0)),
]


@pytest.mark.parametrize(("case", "wanted"), CASES)
def test_by_hand(case, wanted):
    result = make_result(*case)
    assert (result.success, result.spl, result.soft_spl) == pytest.approx(wanted)


def test_means_over_all_and_by_category():
    results = [
        make_result(),
        make_result(travelled=8.0),
        make_result(end=2.0, category="bed"),
    ]
    summary = summarise(results)
    assert summary["sr"] == pytest.approx(2 / 3)
    assert summary["spl"] == pytest.approx(1.5 / 3)
    assert summary["soft_spl"] == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert summary["dtg"] == pytest.approx(2 / 3)
    assert summary["episodes"] == 3
    assert list(summary["categories"]) == ["bed", "chair"]
    assert summary["categories"]["chair"]["spl"] == pytest.approx(0.75)
    assert summary["categories"]["bed"] == {
        "episodes": 1,
        "sr": 0.0,
        "spl": 0.0,
        "soft_spl": 0.5,
        "dtg": 2.0,
        "steps": 10.0,
    }


LENGTHS = some.floats(0.0, 50.0)


@given(some.booleans(), LENGTHS, LENGTHS, LENGTHS)
def test_between_zero_and_one(stopped, start, end, travelled):
    result = make_result(stopped, start, end, travelled)
    assert 0 <= result.spl <= result.success <= 1
    assert 0 <= result.soft_spl <= 1
