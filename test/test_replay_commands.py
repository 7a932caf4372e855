# SPDX-License-Identifier: Apache-2.0
"""When commands were given, of when they were received."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm0_ros.replay.commands import PATIENCE, Beat

PERIOD = 0.01


def given_at(received):
    beat, found = Beat(PERIOD), []
    for number, moment in enumerate(received):
        beat.add(moment, number)
        found += beat.take(moment)
    found += beat.take(np.inf)
    assert [number for _, number in found] == list(range(len(received)))
    return np.array([moment for moment, _ in found])


def test_punctual_ones_are_as_received():
    times = 100.0 + PERIOD * np.arange(200)
    np.testing.assert_allclose(given_at(times), times, atol=1e-9)


def test_a_burst_is_spread_over_the_time_before_it():
    times = 100.0 + PERIOD * np.arange(200)
    received = times.copy()
    received[50:60] = times[59]  # nothing was received for a tenth of a second
    np.testing.assert_allclose(given_at(received), times, atol=1e-9)


def test_a_pause_of_the_executor_stays_a_pause():
    times = 100.0 + PERIOD * np.arange(200)
    times[100:] += 0.3
    np.testing.assert_allclose(given_at(times), times, atol=1e-9)


@given(st.lists(st.integers(0, int(0.9 * PATIENCE / PERIOD)), min_size=1, max_size=80))
def test_none_is_given_after_it_was_received_or_too_soon_after_another(lateness):
    times = 100.0 + PERIOD * np.arange(len(lateness))
    received = np.maximum.accumulate(times + PERIOD * np.array(lateness))
    found = given_at(received)
    assert (found <= received + 1e-9).all() and (found >= times - 1e-9).all()
    assert (
        np.diff(found, prepend=-np.inf).min() == pytest.approx(PERIOD, abs=1e-9)
        or (np.diff(found) >= PERIOD - 1e-9).all()
    )
