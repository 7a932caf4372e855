# SPDX-License-Identifier: Apache-2.0
"""`dm0 train nano-franka --steps 50` from nothing to a checkpoint that can be used."""

import csv

import numpy as np
import pytest
from typer.testing import CliRunner

from dm0_ros.policy.dm0_policy import Dm0Policy
from dm0_ros.robots import load_robot
from dm0_ros.sim.simulator import Simulator
from dm0_ros.training.recipe import RecipeError, load_recipe
from dm0_ros.training.rollout import evaluate
from dm0_ros.training.trainer import learning_rate

STEPS = 50


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    from dm0_ros.cli import app

    folder = tmp_path_factory.mktemp("nano-franka")
    command = ["train", "nano-franka", "--steps", str(STEPS), "--out", str(folder)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    return folder


def test_the_loss_falls(run_folder):
    with open(run_folder / "loss.csv", encoding="utf-8") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert len(losses) == STEPS
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert (run_folder / "loss.png").stat().st_size > 0


def test_the_checkpoint_drives_the_simulated_robot(run_folder):
    robot = load_robot("franka")
    policy = Dm0Policy.from_checkpoint(run_folder / "checkpoint", robot)
    simulator = Simulator(robot)
    (episode,) = evaluate(policy, simulator, episodes=1, seed=0, time_limit=0.5)
    moved = simulator.measured()["fr3_joint1"] - robot.home["fr3_joint1"]
    assert abs(moved) > 1e-6
    assert episode.instruction in {
        wording.format(object=episode.target) for wording in simulator.world.instructions.test
    }


def test_test_wordings_are_not_trained_on():
    world = Simulator(load_robot("franka")).world
    assert not set(world.instructions.training) & set(world.instructions.test)


def test_unknown_recipe_key_is_named(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("name: x\nrobots: franka\n")
    with pytest.raises(RecipeError, match="unknown key robots"):
        load_recipe(path)


def test_learning_rate_warms_up_and_decays():
    settings = load_recipe("nano-franka").optimiser
    rates = [learning_rate(settings, step) for step in range(settings.steps)]
    peak = int(np.argmax(rates))
    assert rates[0] < rates[peak] == pytest.approx(settings.learning_rate)
    assert all(a >= b for a, b in zip(rates[peak:], rates[peak + 1 :], strict=False))
    assert rates[-1] == pytest.approx(settings.final_rate * settings.learning_rate, rel=0.01)
