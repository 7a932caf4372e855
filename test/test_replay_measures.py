# SPDX-License-Identifier: Apache-2.0
"""Figures of recordings whose answers are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from replay_bags import BEGIN, make_chunk, make_episode, write, write_demo_bag

from dm0_ros.replay.bag import BagWriter
from dm0_ros.replay.measures import chunk_latency, command_timing, tracking_errors
from dm0_ros.replay.recording import Recording, Series, read_recording
from dm0_ros.replay.report import evaluate, summarise
from dm0_ros.robots.loading import load_robot


def make_series(times, values, names=("a",)):
    return Series(np.array(times, float), names, np.array(values, float).reshape(-1, len(names)))


@given(
    rate=st.floats(10, 1000),
    windows=st.lists(st.integers(2, 200), min_size=1, max_size=4),
)
def test_rate_is_found_whatever_the_pauses(rate, windows):
    times, spans, start = [], [], 0.0
    for count in windows:
        burst = start + np.arange(count) / rate
        times.extend(burst)
        spans.append((burst[0], burst[-1]))
        start = burst[-1] + 7.0
    timing = command_timing(make_series(times, [0] * len(times)), spans)
    assert timing.rate == pytest.approx(rate, rel=1e-6)
    assert timing.period_p99 == pytest.approx(1 / rate, rel=1e-6)


def test_no_commands_is_not_a_rate():
    timing = command_timing(make_series([], []), [(0.0, 1.0)])
    assert timing.count == 0
    assert np.isnan(timing.rate)


def test_tracking_compares_with_the_command_that_held_then():
    commands = make_series([1.0, 2.0, 3.0], [10, 20, 30])
    measured = make_series([0.5, 1.5, 2.0, 2.9, 3.5, 9.0], [0, 11, 20, 17, 30, 99])
    errors = tracking_errors(commands, measured, [(0.0, 5.0)])
    assert errors["a"].greatest == pytest.approx(3.0)
    assert errors["a"].root_mean_square == pytest.approx(np.sqrt((1 + 0 + 9 + 0) / 4))


def test_joint_that_is_not_measured_has_no_error():
    commands = make_series([1.0], [[10, 20]], ("a", "b"))
    measured = make_series([1.5], [10], ("a",))
    assert set(tracking_errors(commands, measured, [(0.0, 5.0)])) == {"a"}


def test_latency_is_the_sum_of_the_stages():
    nothing = make_series([], [])
    stages = np.array([[1, 2, 3, 4], [2, 2, 3, 4], [90, 0, 0, 10]])
    recording = Recording(stages, np.arange(3), {}, nothing, np.empty(0))
    assert chunk_latency(recording).p50 == 11
    assert chunk_latency(recording).p99 == pytest.approx(100, rel=0.03)


def test_bag_gives_the_figures_it_was_made_with(tmp_path):
    spec = load_robot("franka")
    episodes = [make_episode(0, "red", "red"), make_episode(10, "blue", "red", 3.0)]
    write_demo_bag(tmp_path / "bag", spec, episodes, error=0.01)
    evaluation = evaluate(tmp_path / "bag", episodes, spec)
    assert set(evaluation.tracking) == set(spec.column_names)
    for error in evaluation.tracking.values():
        assert error.root_mean_square == pytest.approx(0.01, rel=1e-3)
    figures = summarise(evaluation)
    assert figures["command_rate_hz"] == pytest.approx(100, rel=1e-3)
    assert figures["command_period_p99_ms"] == pytest.approx(10, rel=1e-2)
    assert figures["plans"] == 10
    assert figures["chunk_latency_ms"]["p50"] == pytest.approx(np.median(
        [10, 60, 110, 160, 10, 60, 110, 160, 210, 260]
    ))  # fmt: skip
    assert (figures["episodes"], figures["successes"]) == (2, 1)
    assert figures["per_episode"][1] == {
        "instruction": "tap the blue one",
        "outcome": "wrong_object",
        "first_touched": "red",
        "seconds": 3.0,
    }


def test_topics_are_found_in_a_namespace(tmp_path):
    writer = BagWriter(tmp_path / "bag")
    write(writer, "/left/action_chunk", BEGIN, make_chunk(BEGIN, (1, 2, 3, 4)))
    writer.close()
    recording = read_recording(tmp_path / "bag", load_robot("franka"))
    assert recording.latencies.tolist() == [[1, 2, 3, 4]]
    assert len(recording.measured.times) == 0
