# SPDX-License-Identifier: Apache-2.0
"""config/checkpoints.yaml: every public checkpoint, and the settings that follow."""

import math

import numpy as np
import pytest
import yaml

from dm0_ros.errors import CheckpointError
from dm0_ros.policy.actions import GripperRule, from_differences
from dm0_ros.policy.catalogue import find_entry, load_catalogue, stretch_step
from dm0_ros.policy.normalisation import Normalisation
from dm0_ros.policy.settings import dump_settings, load_settings
from dm0_ros.resources import find_resource
from dm0_ros.robots import load_robot
from dm0_ros.robots.spec import Space

CATALOGUE = load_catalogue()
RUNNABLE = [name for name, entry in CATALOGUE.items() if entry.settings]


def of_robot(robot):
    return [n for n, e in CATALOGUE.items() if e.robot == robot and ":" not in n]


def test_every_public_checkpoint_is_there():
    plain = [name for name in CATALOGUE if ":" not in name]
    generalists = [name for name in plain if "generalist" in name]
    assert len(plain) == 36 and len(generalists) == 4
    assert plain[:2] == ["base", "libero"]
    # one specialist for each task, and each task once with its robot's generalist
    counts = {robot: len(of_robot(robot)) - 1 for robot in ("aloha", "arx5", "franka", "ur5")}
    assert counts == {"aloha": 11, "arx5": 11, "franka": 2, "ur5": 6}
    assert len(CATALOGUE) == 36 + 30
    assert CATALOGUE["base"].repository == "Dexmal/DM0-base"
    assert CATALOGUE["table30_stack_bowls"].repository == "Dexmal/DM0-table30_stack_bowls"


def test_base_is_there_to_be_trained_further():
    assert CATALOGUE["base"].settings is None
    assert set(RUNNABLE) == set(CATALOGUE) - {"base"}


def test_libero_alone_has_z_scores():
    z_score = [n for n in RUNNABLE if CATALOGUE[n].settings.normalisation is Normalisation.Z_SCORE]
    assert z_score == ["libero"]
    entry = CATALOGUE["libero"]
    assert (len(entry.state_columns), len(entry.columns)) == (8, 7)
    assert entry.settings.used_slots == ("agentview", "wrist")


def test_two_specialists_predict_progress_and_no_generalist():
    progress = {name for name in RUNNABLE if CATALOGUE[name].settings.progress}
    assert progress == {"table30_press_three_buttons", "table30_water_potted_plant"}
    for name in progress:
        assert CATALOGUE[name].settings.max_text_tokens == 200


@pytest.mark.parametrize(
    ("name", "rows", "step", "threshold"),
    [
        ("table30_arrange_paper_cups", 35, 0.1, 0.01),
        ("table30_clean_dining_table", 15, 0.1, 0.02),
        ("table30_generalist_aloha:clean_dining_table", 25, 0.1, 0.02),
        ("table30_plug_in_network_cable", 15, 0.05, 0.015),
        ("table30_generalist_aloha:plug_in_network_cable", 25, 0.1, 0.015),
        ("table30_move_objects_into_box", 25, 0.185, 0.04),
        ("table30_generalist_franka:move_objects_into_box", 15, 0.2, 0.04),
        ("table30_press_three_buttons", 35, 0.2, 0.04),
        ("table30_hang_toothbrush_cup", 10, 0.1, 50),
        ("table30_generalist_ur5", 15, 0.1, 50),
    ],
)
def test_settings_of_a_task(name, rows, step, threshold):
    settings = CATALOGUE[name].settings
    assert settings.name == name
    assert (settings.executed_rows, settings.step) == (rows, step)
    assert settings.gripper.threshold == threshold


def test_gripper_values_of_each_robot():
    rules = {
        "aloha": GripperRule(0.01, 0.0),
        "arx5": GripperRule(0.01, 0.0),
        "franka": GripperRule(0.04, 0.004, 0.084),
        "ur5": GripperRule(50.0, 3.0, 228.0),
    }
    for robot, rule in rules.items():
        assert CATALOGUE[f"table30_generalist_{robot}"].settings.gripper == rule


@pytest.mark.parametrize("rows", [25, 35, 50])
def test_half_speed_is_the_resampled_motion(rows):
    """What a client does by interpolating to twice as many rows of 0.1 s."""
    step = 0.1
    path = np.random.default_rng(rows).normal(size=rows)
    places = np.linspace(0, rows - 1, 2 * rows)
    resampled = np.interp(places, np.arange(rows), path)
    due = np.arange(2 * rows) * step
    np.testing.assert_allclose(
        np.interp(due, np.arange(rows) * stretch_step(step, rows), path), resampled, atol=1e-9
    )


def test_three_tasks_run_at_half_speed():
    slow = {
        n for n in RUNNABLE if CATALOGUE[n].robot == "arx5" and CATALOGUE[n].settings.step > 0.1
    }
    tasks = ("arrange_flowers", "open_the_drawer", "wipe_the_table")
    assert slow == {
        *(f"table30_{task}" for task in tasks),
        *(f"table30_generalist_arx5:{task}" for task in tasks),
    }
    step = CATALOGUE["table30_open_the_drawer"].settings.step
    assert step == pytest.approx(0.1 * 49 / 24)


def test_pencil_case_is_kept_within_limits():
    settings = CATALOGUE["table30_put_pen_into_pencil_case"].settings
    degrees = [math.degrees(upper) for _, upper in settings.clip]
    expected = [150, 180, 0, 100, 70, 180]
    np.testing.assert_allclose(degrees[:6], expected, atol=1e-4)
    np.testing.assert_allclose(degrees[7:13], [150, 180, 0, 99, 70, 180], atol=1e-4)
    assert settings.clip[6] == settings.clip[13] == (0.0, 0.1)
    assert sum(bool(CATALOGUE[name].settings.clip) for name in RUNNABLE) == 2


def test_slots_come_in_the_order_of_the_network():
    used = {
        robot: CATALOGUE[f"table30_generalist_{robot}"].settings.used_slots
        for robot in ("aloha", "arx5", "franka", "ur5")
    }
    assert used == {
        "aloha": ("high", "left_hand", "right_hand"),
        "arx5": ("right_hand", "high", "left_hand"),
        "franka": ("right_hand", "high", "left_hand"),
        "ur5": ("right_hand", "left_hand"),
    }


def test_prompts_are_kept_to_the_letter():
    prompt = "Insert the RJ45 connector of the Ethernet cable into the host."
    assert CATALOGUE["table30_plug_in_network_cable"].prompts == (prompt,)
    assert prompt in CATALOGUE["table30_generalist_aloha"].prompts
    assert len(CATALOGUE["table30_generalist_ur5"].prompts) == 6


WIDTHS = {"arx5": 7, "aloha": 14, "franka": 7, "ur5": 7}  # facts/dm0_model.md, C.8


@pytest.mark.parametrize("name", [name for name in RUNNABLE if name != "libero"])
def test_columns_and_views_come_from_the_robot(name):
    entry = CATALOGUE[name]
    robot = load_robot(entry.robot)
    layout = entry.settings.layout_of(robot)
    assert len(layout.columns) == WIDTHS[entry.robot]
    assert [layout.columns.index(name) for name in layout.absolute] == (
        [6, 13] if entry.robot == "aloha" else [6]
    )
    assert layout.space is (Space.JOINT_POSITION if entry.robot == "aloha" else Space.EEF_POSE)
    assert entry.columns == ()


def test_alohas_left_arm_comes_first():
    columns = load_robot("aloha").layout("joint").columns
    assert [name.partition("_")[0] for name in columns] == ["left"] * 7 + ["right"] * 7


def test_the_ur5s_rule_opens_and_closes_the_right_way_round():
    settings = CATALOGUE["table30_stack_color_blocks"].settings
    layout = settings.layout_of(load_robot("ur5"))
    still = np.zeros(7)
    predicted = np.zeros((3, 7))
    predicted[:, 6] = [3.0, 49.0, 51.0]  # of the register: 3 is open, 228 closed
    rows = from_differences(predicted, still, layout, settings.gripper)
    np.testing.assert_allclose(rows[:, 6], [0.085, 0.085, 0.0], atol=1e-12)


@pytest.mark.parametrize("name", RUNNABLE)
def test_settings_survive_their_own_yaml(name, tmp_path):
    settings = CATALOGUE[name].settings
    (tmp_path / "policy.yaml").write_text(dump_settings(settings))
    assert load_settings(tmp_path) == settings


def test_the_missing_robot_is_named():
    with pytest.raises(CheckpointError, match=r"config/libero\.yaml.* is missing"):
        CATALOGUE["libero"].settings.layout_of(load_robot("franka"))


def test_names_and_repositories_find_the_same_entry():
    assert find_entry("Dexmal/DM0-libero") is find_entry("libero")
    with pytest.raises(CheckpointError, match="mean table30_open_the_drawer"):
        find_entry("open_the_drawer")
    with pytest.raises(CheckpointError, match="no public checkpoint 'zzz'; 'dm0 checkpoint list'"):
        find_entry("zzz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t["tasks"]["stack_bowls"].pop("prompt"),
            r"checkpoints.yaml:\d+: tasks.stack_bowls: missing key promp",
        ),
        (lambda t: t["tasks"]["stack_bowls"].update(rows=[25]), "rows: expected 2 entries"),
        (
            lambda t: t["tasks"]["stack_bowls"].update(robot="robo"),
            r"checkpoints.yaml:\d+: tasks.stack_bowls.robot: stack_bowls is for robot 'robo",
        ),
        (
            lambda t: t["robots"]["arx5"].update(speed=1),
            r"checkpoints.yaml:\d+: robots.arx5.speed: unknown key speed",
        ),
        (lambda t: t["robots"]["aloha"].pop("gripper"), "its robot has no gripper rule"),
        (lambda t: t["defaults"].update(normalisation="minmax"), "'minmax' is not one of"),
    ],
)
def test_a_broken_table_is_named(tmp_path, change, message):
    table = yaml.safe_load(find_resource("config", "checkpoints.yaml").read_text())
    change(table)
    path = tmp_path / "checkpoints.yaml"
    path.write_text(yaml.safe_dump(table))
    with pytest.raises(CheckpointError, match=message):
        load_catalogue(path)
