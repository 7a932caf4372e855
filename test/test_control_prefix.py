# SPDX-License-Identifier: Apache-2.0
"""What the next plan is asked to keep."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm0_ros.control.prefix import Delays, choose_prefix

ROWS = np.arange(400.0).reshape(50, 8)


def test_the_delay_is_a_high_percentile_without_the_cold_start():
    delays = Delays()
    assert math.isnan(delays.p95)
    delays.add(30.0)
    assert math.isnan(delays.p95)
    for index in range(100):
        delays.add(0.1 + index * 0.001)
    assert delays.p95 == pytest.approx(0.194, abs=1e-3)
    for _ in range(100):
        delays.add(0.2)
    assert delays.p95 == pytest.approx(0.2)
    delays.forget()
    delays.add(5.0)
    assert math.isnan(delays.p95)


@given(st.floats(0, 2), st.integers(1, 50), st.integers(1, 50))
def test_a_prefix_is_there_where_the_delay_fits(delay, executed, horizon):
    prefix = choose_prefix(ROWS, delay, 0.1, executed, horizon)
    d = math.ceil(delay / 0.1 - 1e-9)
    if d <= executed <= horizon - d:
        assert prefix.kept == d and not prefix.reason
        assert len(prefix.rows) == max(d, horizon - executed)
        np.testing.assert_array_equal(prefix.rows, ROWS[: len(prefix.rows)])
    else:
        assert not len(prefix.rows) and f"a delay of {d} rows" in prefix.reason


def test_why_there_is_none():
    assert "no delay" in choose_prefix(ROWS, math.nan, 0.1, 10, 50).reason
    assert (
        "2 rows are committed; the delay is 3" in choose_prefix(ROWS[:2], 0.3, 0.1, 10, 50).reason
    )
    assert choose_prefix(ROWS, 1.2, 0.1, 10, 50).reason.endswith("must be at most 10")
