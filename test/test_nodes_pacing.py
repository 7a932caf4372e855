# SPDX-License-Identifier: Apache-2.0
"""The thread that keeps the rate, and the ROS time of its deadlines."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy")

from dm0_ros.nodes.pacing import Pacer, SteadyClock

PATIENCE = 20.0  # s


def pace(step, rate=200.0):
    failures, done = [], threading.Event()

    def call(deadline):
        if step(deadline):
            done.set()

    def fail(error):
        failures.append(error)
        done.set()

    pacer = Pacer(rate, call, fail)
    pacer.start()
    assert done.wait(PATIENCE)
    pacer.stop()
    return pacer, failures


def test_deadlines_lie_on_one_grid_and_missed_ones_are_skipped():
    deadlines, late = [], []

    def step(deadline):
        deadlines.append(deadline)
        late.append(time.monotonic() - deadline)
        if len(deadlines) == 10:
            time.sleep(0.03)  # six periods
        return len(deadlines) == 40

    pacer, failures = pace(step)
    periods = np.diff(deadlines) / 0.005
    np.testing.assert_allclose(periods, np.round(periods), atol=1e-6)
    assert periods.min() >= 0.999
    assert periods[9] > 4.5
    assert min(late) >= 0
    assert not failures
    assert 0 < pacer.period(50) <= pacer.period(99)


def test_an_error_ends_the_thread_and_is_told_once():
    calls = []

    def step(deadline):
        calls.append(deadline)
        raise ValueError("broken")

    _, failures = pace(step)
    assert len(calls) == 1
    assert [str(error) for error in failures] == ["broken"]


class FakeClock:
    """ROS time 1000 s ahead of a monotonic clock that stands at 7 s."""

    ros_time_is_active = False
    nanoseconds = 1007 * 10**9

    def now(self):
        return self

    def set(self, seconds):
        self.nanoseconds += round(seconds * 1e9)


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr("dm0_ros.nodes.pacing.time", SimpleNamespace(monotonic=lambda: 7.0))
    return FakeClock()


def test_time_follows_the_monotonic_clock_and_is_slewed_slowly(clock):
    steady = SteadyClock(clock)
    assert steady.at(5.0) == pytest.approx(1005.0, abs=1e-9)
    assert steady.now() == pytest.approx(1007.0, abs=1e-9)
    clock.set(0.0001)  # adjusted by NTP
    times = [steady.at(5.0) for _ in range(20)]
    assert max(np.diff(times)) <= 1.001e-5
    assert times[-1] == pytest.approx(1005.0001, abs=1e-9)


def test_a_clock_that_was_set_is_believed_at_once(clock):
    steady = SteadyClock(clock)
    steady.at(5.0)
    clock.set(-100)
    assert steady.at(5.0) == pytest.approx(905.0, abs=1e-9)


def test_simulated_time_is_passed_on_as_it_is(clock):
    clock.ros_time_is_active = True
    assert SteadyClock(clock).at(5.0) == pytest.approx(1007.0)
