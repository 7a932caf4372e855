# SPDX-License-Identifier: Apache-2.0
"""Our own recordings as a source: a sample for every frame and every object."""

import json
import pickle

import numpy as np
import pytest

from dm0_ros.robots import load_robot
from dm0_ros.sim.world import load_world
from dm0_ros.training.sources.opening import open_source
from dm0_ros.training.sources.sample import Embodiment, SourceError
from dm0_ros.training.sources.settings import SourceKind, SourceSettings

EPISODES, FRAMES, ROWS, SIZE = 3, 4, 6, 8
WORLD = load_world("three_blocks")
OBJECTS = len(WORLD.objects)


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    count = EPISODES * FRAMES
    np.save(
        tmp_path / "pictures.npy", random.integers(0, 256, (count, 3, SIZE, SIZE, 3), np.uint8)
    )
    np.save(tmp_path / "states.npy", random.normal(size=(count, 8)).astype(np.float32))
    rows = random.normal(size=(count, OBJECTS, ROWS, 8)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    about = {
        "robot": "franka",
        "layout": "joint",
        "step": 0.1,
        "world": "three_blocks",
        "task": next(iter(WORLD.tasks)),
        "data": {"episodes": EPISODES, "frames": FRAMES},
        "masked_slots": ["high"],
    }
    (tmp_path / "recording.json").write_text(json.dumps(about))
    return tmp_path


def open_folder(folder):
    return open_source(SourceSettings(SourceKind.RECORDINGS, str(folder), name="sim"))


def test_every_object_of_every_frame_is_a_sample(folder):
    source = pickle.loads(pickle.dumps(open_folder(folder)))
    assert len(source) == EPISODES and source.size(1) == FRAMES * OBJECTS
    assert source.layout == load_robot("franka").layout("joint")
    robot = load_robot("franka")
    assert source.embodiment == Embodiment("franka", "joint", 0.1, robot.camera_slots)
    assert source.slots == ("right_hand", "left_hand")
    pictures, states, rows = (
        np.load(folder / f"{key}.npy") for key in ("pictures", "states", "rows")
    )
    for index, sample in enumerate(source.episode(1)):
        place, which = FRAMES + index // OBJECTS, index % OBJECTS
        np.testing.assert_array_equal(sample.state, states[place])
        np.testing.assert_array_equal(sample.rows, rows[place, which])
        assert set(sample.pictures) == {"right_hand", "left_hand"}, "one camera is masked"
        np.testing.assert_array_equal(sample.pictures["left_hand"], pictures[place, 2])
        assert WORLD.object_names[which] in sample.instruction
        assert sample.answer is None and sample.dataset == "sim"
    assert index == FRAMES * OBJECTS - 1
    name = f"sim episode 1: frame 2, {WORLD.object_names[1]}"
    assert source.name_sample(1, 2 * OBJECTS + 1) == name


def test_numbers_are_those_of_the_samples(folder):
    source = open_folder(folder)
    numbers = source.numbers(2)
    samples = list(source.episode(2))
    np.testing.assert_array_equal(numbers.states, [sample.state for sample in samples])
    np.testing.assert_array_equal(numbers.rows, [sample.rows for sample in samples])


def test_sentences_differ_from_frame_to_frame(folder):
    texts = {sample.instruction for sample in open_folder(folder).episode(0)}
    assert len(texts) > OBJECTS


def test_a_folder_that_is_no_whole_recording_is_refused(folder, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(SourceError, match=r"recording\.json: cannot be read"):
        open_folder(empty)
    np.save(folder / "states.npy", np.zeros((2, 8), np.float32))
    with pytest.raises(SourceError, match=r"states\.npy: has shape \(2, 8\), which does not fit"):
        open_folder(folder)
    (folder / "states.npy").unlink()
    with pytest.raises(SourceError, match="is incomplete"):
        open_folder(folder)
    (folder / "recording.json").write_text("{}")
    with pytest.raises(SourceError, match=r"has no robot, layout, step, world"):
        open_folder(folder)
