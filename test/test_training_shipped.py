# SPDX-License-Identifier: Apache-2.0
"""The checkpoints that ship: whole, small, made by a recipe, and able to do what they are for."""

import json

import pytest
from typer.testing import CliRunner

from dm0_ros.commands.eval import eval as eval_
from dm0_ros.errors import CheckpointError
from dm0_ros.policy.registry import choose_shipped, find_checkpoint, list_shipped, load_policy
from dm0_ros.robots import load_robot
from dm0_ros.sim.simulator import Simulator
from dm0_ros.sim.world import load_world
from dm0_ros.training.recipe import DrivingRecipe, load_recipe
from dm0_ros.training.rollout import evaluate

EPISODES = 6
# s between plans. Without the nodes' commitment to what was begun, plans that come sooner can take
# each other back.
_PERIOD = 1.0


def is_driving(name):
    return isinstance(load_recipe(name), DrivingRecipe)


def reasons(name):
    return load_recipe(name).scaffold is not None


@pytest.fixture(scope="module", params=list_shipped())
def name(request):
    return request.param


def test_it_is_small_and_has_a_model_card(name):
    folder = find_checkpoint(name).folder
    assert sum(path.stat().st_size for path in folder.iterdir()) < 20e6
    assert f"dm0 train {name} --seed 0" in (folder / "README.md").read_text()


def test_it_is_what_its_recipe_makes(name):
    recipe = load_recipe(name)
    robot, settings = load_robot(recipe.robot), find_checkpoint(name).load_settings()
    assert (settings.robots, settings.world, settings.task) == (
        (recipe.robot,),
        recipe.world,
        recipe.task,
    )
    spec = load_policy(name, robot).spec
    assert spec.name == f"dm0-{name}"
    assert (spec.horizon, spec.step) == (recipe.network.chunk_size, recipe.step)
    masked = recipe.masked_slots
    assert spec.camera_slots == tuple(slot for slot in robot.camera_slots if slot not in masked)
    if recipe.initial:
        assert recipe.initial in list_shipped()


def test_it_follows_instructions_in_words_it_was_not_trained_on(name):
    if is_driving(name):
        pytest.skip("a base: see below")
    settings = find_checkpoint(name).load_settings()
    robot = load_robot(settings.robots[0])
    simulator = Simulator(robot, load_world(settings.world), 0, settings.task)
    policy = load_policy(name, robot)
    episodes = evaluate(policy, simulator, EPISODES, 5, 20.0, _PERIOD, task=settings.task)
    simulator.close()
    # The model cards have the rates. Here: what is right outweighs what is wrong, which neither
    # chance (one in three) nor an arm that does nothing achieves.
    right = sum(episode.success for episode in episodes)
    wrong = sum(episode.first not in (None, episode.target) for episode in episodes)
    assert right >= 2 and right > 2 * wrong, episodes


@pytest.mark.parametrize("name", [name for name in list_shipped() if reasons(name)])
def test_what_it_says_is_near_the_truth(name, tmp_path):
    figures = tmp_path / "scaffold.json"
    options = ("--episodes", str(EPISODES), "--seed", "5", "--json", str(figures))
    result = CliRunner().invoke(eval_, ["scaffold", "--checkpoint", name, *options])
    assert result.exit_code == 0, result.output
    found = json.loads(figures.read_text())
    # The model card has the figures. Here: far better than a box elsewhere on the table.
    assert found["valid_fraction"] > 0.9 and found["box_iou"] > 0.4
    assert found["path_error_px"] < 15.0 and found["success"] > 0.5


@pytest.mark.parametrize("name", [name for name in list_shipped() if is_driving(name)])
def test_it_finds_what_it_is_asked_for(name, tmp_path):
    figures = tmp_path / "objectnav.json"
    words = ("objectnav", "--policies", "random,nano", "--checkpoint", name)
    options = ("--episodes", str(EPISODES), "--seed", "5", "--json", str(figures))
    result = CliRunner().invoke(eval_, [*words, *options])
    assert result.exit_code == 0, result.output
    policies = json.loads(figures.read_text())["policies"]
    assert policies["nano"]["episodes"] == EPISODES
    assert set(policies["nano"]) >= {"sr", "spl", "soft_spl", "dtg", "categories"}
    assert policies["nano"]["sr"] >= policies["random"]["sr"] + 0.3


def test_the_one_for_a_robot_is_found_by_what_it_was_trained_for():
    assert choose_shipped("franka") == "nano-franka-reason"
    assert choose_shipped("franka", "pick") == "nano-franka-pick"
    assert choose_shipped("ur5", "touch") == "nano-ur5"
    with pytest.raises(
        CheckpointError, match=r"no checkpoint .* for franka and task dance; .*touch"
    ):
        choose_shipped("franka", "dance")
    assert load_policy("dm0-nano", load_robot("ur5")).spec.name == "dm0-nano-ur5"
    assert choose_shipped("mobile_base") == "nano-navigation"
