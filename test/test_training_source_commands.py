# SPDX-License-Identifier: Apache-2.0
"""Data like LIBERO's: states of eight numbers, actions of seven that a controller takes."""

import numpy as np
import pytest
from source_samples import write_small_dexdata

from dm0_ros.errors import Dm0Error
from dm0_ros.resources import find_resource
from dm0_ros.robots import load_robot
from dm0_ros.training.sources.chunks import Track, cut_chunks
from dm0_ros.training.sources.opening import open_source
from dm0_ros.training.sources.sample import SourceError
from dm0_ros.training.sources.settings import ActionSource, SourceKind, SourceSettings
from dm0_ros.training.sources.statistics import gather_stats

ROBOT = str(find_resource("config", "libero/robot.yaml"))
LAYOUT = load_robot(ROBOT).layout("command")


def describe(folder, **changes):
    settings = {
        "robot": ROBOT, "layout": "command", "actions": ActionSource.ACTION, "step": 0.05,
        "fps": 20.0, "rows": 4, "cameras": {"images_1": "agentview"},
    }  # fmt: skip
    return SourceSettings(SourceKind.DEXDATA, str(folder), **(settings | changes))


def test_commands_are_the_datas_own_and_states_have_their_columns(tmp_path):
    random = np.random.default_rng(0)
    states, actions = random.uniform(-4, 4, (9, 8)), random.uniform(-1, 1, (9, 7))
    track = Track(np.arange(9) / 20, states, actions, ("go",) * 9)
    numbers = cut_chunks(track, LAYOUT, describe(tmp_path), [0, 7])
    np.testing.assert_allclose(numbers.states, states[[0, 7]], atol=1e-6)
    np.testing.assert_allclose(numbers.rows[0], actions[:4], atol=1e-6)
    np.testing.assert_allclose(numbers.rows[1], actions[[7, 8, 8, 8]], atol=1e-6)


def test_statistics_are_of_commands_less_states(tmp_path):
    folder = write_small_dexdata(tmp_path / "data", (12,), action=[0.5] * 7)
    source = open_source(describe(folder))
    stats = gather_stats(source, 32)
    states = np.array([source.numbers(0).states]).reshape(-1, 8)
    expected = [0.5 - states[:, :6].mean(0)]
    assert stats.action.mean[:6] == pytest.approx(np.ravel(expected), abs=1e-5)
    assert stats.action.mean[6] == pytest.approx(0.5)
    assert stats.state.mean[:8] == pytest.approx(states.mean(0), abs=1e-5)


def test_the_next_state_is_no_command(tmp_path):
    with pytest.raises(SourceError, match=r"no state has gripper, .*write 'actions: action'"):
        describe(tmp_path, actions=ActionSource.NEXT_STATE)


def test_columns_of_states_can_be_renamed(tmp_path):
    describe(tmp_path, columns={"axis_x": "0", "gripper": "6"})
    with pytest.raises(Dm0Error, match="unknown column elbow"):
        describe(tmp_path, columns={"elbow": "0"})
