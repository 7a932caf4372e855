# SPDX-License-Identifier: Apache-2.0
"""Chunks: the next state as the action, the tail repeated, other rates, angles, units."""

import math
from dataclasses import replace

import numpy as np
import pytest
from source_samples import LAYOUT, make_states

from dm0_ros.policy.actions import to_differences
from dm0_ros.robots import load_robot
from dm0_ros.training.sources.chunks import (
    Track,
    check_track,
    count_samples,
    cut_chunks,
    measure_progress,
)
from dm0_ros.training.sources.sample import BrokenEpisodeError
from dm0_ros.training.sources.settings import ActionSource, SourceKind, SourceSettings

SETTINGS = SourceSettings(
    SourceKind.DEXDATA, ".", robot="franka", layout="joint", step=0.1, rows=6
)
POSE = load_robot("franka").layout("pose")


def make_track(states, actions=None, fps=10.0):
    count = len(states)
    return Track(np.arange(count) / fps, np.asarray(states, float), actions, ("go",) * count)


def test_an_action_is_the_next_state_and_the_last_is_repeated():
    states = make_states(0, 9)
    numbers = cut_chunks(make_track(states), LAYOUT, SETTINGS, range(8))
    assert numbers.states.dtype == numbers.rows.dtype == np.float32
    assert numbers.rows.shape == (8, 6, 8)
    for frame in range(8):
        expected = states[np.minimum(frame + 1 + np.arange(6), 8)]
        np.testing.assert_allclose(numbers.rows[frame], expected, atol=1e-6)
        np.testing.assert_array_equal(numbers.states[frame], states[frame])


def test_the_datas_own_actions_are_not_shifted():
    states, settings = make_states(0, 9), replace(SETTINGS, actions=ActionSource.ACTION)
    numbers = cut_chunks(make_track(states, states + 5.0), LAYOUT, settings, [2, 7])
    np.testing.assert_allclose(numbers.rows[0], states[2:8] + 5, atol=1e-5)
    np.testing.assert_allclose(numbers.rows[1, 2:], np.tile(states[8] + 5, (4, 1)), atol=1e-5)


def test_the_last_frame_has_no_next_state():
    assert count_samples(9, SETTINGS) == 8
    assert count_samples(9, replace(SETTINGS, actions=ActionSource.ACTION)) == 9
    assert count_samples(9, replace(SETTINGS, every=3)) == 3
    assert count_samples(0, SETTINGS) == 0


def test_rows_lie_a_step_apart_at_any_rate_of_the_data():
    seconds = np.arange(60) / 30.0
    states = np.outer(seconds, np.arange(1.0, 9.0))
    track = make_track(states, fps=30.0)
    numbers = cut_chunks(track, LAYOUT, replace(SETTINGS, step=0.04), [0, 10])
    due = seconds[[0, 10]][:, None] + 0.04 * (1 + np.arange(6))
    np.testing.assert_allclose(numbers.rows, due[..., None] * np.arange(1.0, 9.0), atol=1e-6)


def test_angles_go_on_through_half_a_turn():
    yaw = np.linspace(2.0, 5.0, 20)
    states = np.zeros((20, 7))
    states[:, 5] = (yaw + math.pi) % math.tau - math.pi  # as a driver reports it
    settings = replace(SETTINGS, layout="pose")
    numbers = cut_chunks(make_track(states, fps=7.0), POSE, settings, range(19))
    assert np.abs(numbers.states[:, 5]).max() <= math.pi
    first = numbers.rows[:, 0, 5] - numbers.states[:, 5]
    assert abs(first).max() < math.pi, "a chunk begins a turn away from its state"
    steps = np.diff(numbers.rows[..., 5], axis=1)
    assert steps.min() > -1e-6 and steps.max() < 0.2, "interpolated through the leap"
    differences = to_differences(numbers.rows, numbers.states, POSE)
    assert differences[..., 5].min() > -1e-6 and differences[..., 5].max() < 1.0


def test_joints_never_wrap():
    states = np.zeros((20, 8))
    states[:, 6] = [-4.0, 4.0] * 10
    numbers = cut_chunks(make_track(states), LAYOUT, SETTINGS, range(19))
    np.testing.assert_allclose(numbers.states[:, 6], states[:-1, 6], atol=1e-6)
    np.testing.assert_allclose(numbers.rows[:, 0, 6], states[1:, 6], atol=1e-5)


def test_degrees_and_raw_grippers_become_si():
    layout = load_robot("ur5").layout("pose")
    assert layout.raw, "the UR5's public data have a gripper in counts"
    gripper = layout.columns.index(next(iter(layout.raw)))
    unit = layout.raw[layout.columns[gripper]]
    states = np.zeros((10, len(layout.columns)))
    states[:, gripper] = np.linspace(unit.closed, unit.open, 10)
    states[:, 3] = 90.0
    settings = replace(SETTINGS, robot="ur5", layout="pose", degrees=("roll",))
    numbers = cut_chunks(make_track(states), layout, settings, [0])
    assert numbers.states[0, 3] == pytest.approx(math.pi / 2)
    assert numbers.rows[0, 0, gripper] == pytest.approx(
        unit.widths[0] + (unit.widths[1] - unit.widths[0]) / 9
    )


def test_progress_is_the_share_of_the_time():
    track = make_track(make_states(0, 21))
    assert measure_progress(track, SETTINGS, 5) == pytest.approx((0.25, 0.55))
    assert measure_progress(track, SETTINGS, 18) == pytest.approx((0.9, 1.0))


def broken(**changes):
    return replace(make_track(make_states(0, 9)), **changes)


def with_nan():
    states = make_states(0, 9).astype(float)
    states[4, 2] = np.nan
    return states


BROKEN = {
    "has 3 frames, fewer than 6; set 'shortest'": make_track(make_states(0, 3)),
    "state of fr3_joint3 is nan in frame 4": broken(states=with_nan()),
    r"states have shape \(9, 7\); expected 9 frames of 8": broken(states=np.zeros((9, 7))),
    r"actions have shape \(9, 9\)": broken(actions=np.zeros((9, 9))),
    "times do not rise": broken(times=np.zeros(9)),
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_episode_is_named_with_what_is_wrong(message):
    with pytest.raises(BrokenEpisodeError, match=f"pour episode 7: .*{message}"):
        check_track(BROKEN[message], LAYOUT, SETTINGS, "pour episode 7")


def test_short_episodes_are_taken_where_they_are_wanted():
    check_track(make_track(make_states(0, 3)), LAYOUT, replace(SETTINGS, shortest=2), "x")
