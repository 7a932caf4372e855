# SPDX-License-Identifier: Apache-2.0
"""policy.yaml: what it must say, and whether it fits the robot."""

import pytest
import yaml

from dm0_ros.errors import CheckpointError
from dm0_ros.policy.normalisation import Normalisation
from dm0_ros.policy.settings import load_settings
from dm0_ros.robots import load_robot

GOOD = {
    "name": "tiny",
    "robots": ["franka"],
    "layout": "joint",
    "step": 0.1,
    "normalisation": "quantile",
    "max_text_tokens": 64,
    "pad_colour": "black",
    "camera_slots": ["right_hand", "left_hand", "high"],
    "masked_slots": ["high"],
}


def load(folder, **changes):
    content = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    (folder / "policy.yaml").write_text(yaml.safe_dump(content))
    return load_settings(folder)


def test_reads_what_is_written(tmp_path):
    settings = load(tmp_path)
    assert settings.used_slots == ("right_hand", "left_hand")
    assert settings.normalisation is Normalisation.QUANTILE
    robot = load_robot("franka")
    assert settings.layout_of(robot) == robot.layout("joint")


def test_missing_file_says_what_to_write(tmp_path):
    with pytest.raises(CheckpointError, match=r"policy.yaml is missing") as caught:
        load_settings(tmp_path)
    example = str(caught.value).split("\n", 1)[1]
    (tmp_path / "policy.yaml").write_text(example)
    robot = load_robot("franka")
    assert load_settings(tmp_path).layout_of(robot) == robot.layout("pose")


@pytest.mark.parametrize(
    ("change", "key", "message"),
    [
        ({"step": 0.0}, "step", "is 0.0 s; it must be positive"),
        ({"step": None}, "", "missing key step; add it"),
        ({"rate": 10}, "rate", "unknown key rate; known keys are name, robots"),
        ({"normalisation": "minmax"}, "normalisation", "'minmax' is not one of quantile, z_score"),
        ({"max_text_tokens": 0}, "max_text_tokens", "is 0; it must be at least 1"),
        ({"robots": []}, "robots", "is empty; name those"),
        ({"camera_slots": ["high", "high"]}, "camera_slots", "names a slot twice; see high, high"),
        ({"masked_slots": ["wrist"]}, "masked_slots", "the masked slots must be some, not all"),
        ({"masked_slots": GOOD["camera_slots"]}, "masked_slots", "the masked slots must be some"),
        ({"camera_slots": [], "masked_slots": []}, "camera_slots", "the masked slots must be"),
        ({"executed_rows": 0}, "executed_rows", "is 0; it must be at least 1"),
        ({"gripper": {"threshold": 0.01}}, "gripper", "missing key below"),
        ({"clip": [[0.0, 1.0], [2.0, 1.0]]}, "clip", "has a lower limit above its upper one"),
    ],
)
def test_contradictions_are_named_with_line_and_key(tmp_path, change, key, message):
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path, **change)
    path = tmp_path / "policy.yaml"
    lines = path.read_text().splitlines()
    number = [line.partition(":")[0] for line in lines].index(key) + 1 if key else 1
    assert str(caught.value).startswith(f"{path}:{number}: {key}{': ' * bool(key)}{message}")


@pytest.mark.parametrize(
    ("change", "robot", "message"),
    [
        ({}, "panda", "tiny was trained for franka, not for panda"),
        ({"layout": "legs"}, "franka", "needs layout 'legs', which franka lacks; .* joint, pose"),
        (
            {"camera_slots": ["high", "top"], "masked_slots": []},
            "franka",
            "needs camera slot top, which franka lacks; its slots are right_hand, high, left_hand",
        ),
        ({"robots": ["mantis"]}, "franka", r"config/mantis\.yaml, which .* is missing"),
        ({"clip": [[0.0, 1.0]]}, "franka", "clip has limits for 1 columns, .* has 8"),
    ],
)
def test_a_robot_that_does_not_fit_is_refused(tmp_path, change, robot, message):
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path, **change).layout_of(load_robot(robot))


def test_a_masked_slot_needs_no_camera(tmp_path):
    settings = load(tmp_path, camera_slots=["high", "spare"], masked_slots=["spare"])
    settings.layout_of(load_robot("franka"))
    assert settings.used_slots == ("high",)
