# SPDX-License-Identifier: Apache-2.0
"""What was known at a moment: against the plainest way to say it."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dm0_ros.datasets.commands import CommandLine, list_commanded
from dm0_ros.datasets.resampling import find_gap, hold, interpolate, make_ticks, pick_newest
from dm0_ros.robots.spec import Sink, SinkKind

EPOCH = 1_700_000_000.0
moments = st.lists(st.integers(0, 4000), min_size=1, max_size=40).map(
    lambda ms: EPOCH + np.sort(np.array(ms)) / 1000
)


@given(moments, moments)
def test_the_newest_is_the_last_that_is_not_later(times, ticks):
    picked = pick_newest(times, ticks)
    for tick, index in zip(ticks, picked, strict=True):
        earlier = [i for i, time in enumerate(times) if time <= tick]
        assert index == (earlier[-1] if earlier else -1)


@given(moments, moments, st.integers(0, 2**31))
def test_what_was_said_holds_until_something_else_is_said(times, ticks, seed):
    values = np.random.default_rng(seed).normal(size=(len(times), 3))
    held = hold(times, values, ticks)
    for tick, row in zip(ticks, held, strict=True):
        said = [value for time, value in zip(times, values, strict=True) if time <= tick]
        np.testing.assert_array_equal(row, said[-1] if said else np.full(3, np.nan))


@given(st.floats(-3, 3), st.floats(-3, 3), moments)
def test_between_measurements_lies_a_line(offset, slope, times):
    times = np.unique(times)
    ticks = np.linspace(times[0], times[-1], 17)
    values = offset + slope * (times - EPOCH)
    found = interpolate(times, values, ticks)
    np.testing.assert_allclose(found, offset + slope * (ticks - EPOCH), atol=1e-5)


@given(st.floats(0, 100), st.floats(-0.05, 20), st.integers(1, 200))
@example(begin=0.0, lasts=1.35, rate=20)
def test_ticks_begin_at_the_beginning_and_keep_within(begin, lasts, rate):
    begin, step = EPOCH + begin, 1 / rate
    ticks = make_ticks(begin, begin + lasts, step)
    # a microsecond is given; the sum above is off by a quarter of one at most
    least, most = (math.floor((lasts + given) * rate) + 1 for given in (0.75e-6, 1.25e-6))
    assert max(least, 0) <= len(ticks) <= max(most, 0)
    if len(ticks):
        assert ticks[0] == begin and ticks[-1] <= begin + lasts + 1e-5
        np.testing.assert_allclose(np.diff(ticks), step, atol=1e-6)


def test_an_end_that_rounding_puts_before_a_tick_still_has_it():
    begin = EPOCH + 0.3
    assert len(make_ticks(begin, begin + 0.3, 0.1)) == 4


@pytest.mark.parametrize(
    ("stamps", "received", "text"),
    [
        ([0, 0.1, 0.2, 0.2, 0.3], [0, 0.1, 0.2, 0.25, 0.3], None),
        # a recorder that was held up is no gap: its stamps go on
        ([0, 0.1, 0.2, 0.3], [0, 0.1, 1.9, 1.91], None),
        ([0, 0.1, 0.8], [0, 0.1, 0.8], "nothing for 0.700 s, and 0.5 s are allowed"),
        ([0, 0.1, 9.2], [0, 0.1, 0.2], "jumped by +9.000 s"),
        ([0, 0.1, -7.8], [0, 0.1, 0.2], "jumped by -8.000 s"),
        ([0, 0.1, 0.05], [0, 0.1, 0.2], "stamps go back by 0.050 s"),
    ],
)
def test_gaps_and_jumps_are_told_apart(stamps, received, text):
    gap = find_gap(stamps, received, 0.5)
    assert gap is None if text is None else text in gap.text


POSITIONS = Sink(SinkKind.FORWARD_POSITION, "arm/commands", ("a", "b"))
TRAJECTORY = Sink(SinkKind.JOINT_TRAJECTORY, "arm/trajectory", ("a", "b"))


def say(*values):
    return SimpleNamespace(data=list(values))


def time_of(seconds):
    return SimpleNamespace(sec=math.floor(seconds), nanosec=round(seconds % 1 * 1e9))


def trajectory(begin, *points, names=("b", "a")):
    """Points of (s from the beginning, a, b)."""
    return SimpleNamespace(
        header=SimpleNamespace(stamp=time_of(begin)),
        joint_names=list(names),
        points=[
            SimpleNamespace(positions=[b, a], time_from_start=time_of(t)) for t, a, b in points
        ],
    )


def test_positions_count_until_the_next_ones():
    line = CommandLine(POSITIONS)
    assert line.first is None and np.isnan(line.sample(np.array([1.0]))).all()
    for now, value in ((1.0, 0.1), (1.5, 0.2), (1.5, 0.3), (1.4, 0.4)):  # the last came late
        assert line.add(now, say(value, -value)) == ""
    ticks = np.array([0.99, 1.0, 1.49, 1.5, 9.0])
    expected = np.array([np.nan, 0.1, 0.1, 0.4, 0.4])
    np.testing.assert_array_equal(line.sample(ticks), np.stack([expected, -expected], axis=-1))
    assert line.first == 1.0 and list_commanded([line, CommandLine(TRAJECTORY)]) == ("a", "b")


def test_a_trajectory_is_followed_until_another_takes_its_place():
    line = CommandLine(TRAJECTORY)
    line.add(10.0, trajectory(10.0, (0.0, 0.0, 1.0), (1.0, 1.0, 3.0)))
    # a new one, that begins half-way: from where the first is then
    line.add(10.4, trajectory(10.5, (0.5, 2.5, 2.0), (1.0, 2.5, 2.0)))
    ticks = np.array([9.9, 10.0, 10.25, 10.5, 10.75, 11.0, 20.0])
    first = [np.nan, 0.0, 0.25, 0.5, 1.5, 2.5, 2.5]
    second = [np.nan, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0]
    np.testing.assert_allclose(line.sample(ticks), np.stack([first, second], -1), atol=1e-12)
    # one that comes when the last is over: held, and then a line
    line.add(20.0, trajectory(0.0, (1.0, 0.5, 0.0)))
    np.testing.assert_allclose(
        line.sample(np.array([19.0, 20.0, 20.5, 21.0])),
        [[2.5, 2.0], [2.5, 2.0], [1.5, 1.0], [0.5, 0.0]],
    )


@given(st.lists(st.integers(0, 30), min_size=2, max_size=12, unique=True), st.integers(0, 999))
@settings(max_examples=50)
def test_replaced_trajectories_leave_no_trace_of_what_was_to_come(starts, seed):
    """A point that is due before the next trajectory comes is reached; the last one's all are."""
    random, line = np.random.default_rng(seed), CommandLine(TRAJECTORY)
    given_ = []
    for start in sorted(starts):
        rows = random.normal(size=(3, 2))
        begin = 100.0 + start / 10
        line.add(begin, trajectory(begin, *((0.1 * (i + 1), *row) for i, row in enumerate(rows))))
        given_.append((begin, rows))
    for begin, rows in given_:
        later = [other for other, _ in given_ if other > begin]
        for i, row in enumerate(rows):
            due = begin + 0.1 * (i + 1)
            if not later or due < min(later) - 1e-9:
                np.testing.assert_allclose(line.sample(np.array([due]))[0], row, atol=1e-6)


@pytest.mark.parametrize(
    ("sink", "message", "text"),
    [
        (POSITIONS, say(1.0), "1 values for 2 joints"),
        (POSITIONS, say(1.0, math.nan), "a command is [1.0, nan]"),
        (TRAJECTORY, trajectory(1.0, (0.0, 1.0, 2.0), names=("b", "c")), "lacks a"),
        (TRAJECTORY, trajectory(1.0, (0.1, 1, 2), (0.1, 1, 2)), "do not rise"),
        (TRAJECTORY, trajectory(1.0, (0.1, math.inf, 2.0)), "are no numbers"),
    ],
)
def test_a_command_of_no_use_is_named(sink, message, text):
    line = CommandLine(sink)
    assert text in line.add(1.0, message)
    assert line.first is None
