# SPDX-License-Identifier: Apache-2.0
"""`dm0 train nano-franka --steps 50` from nothing to a checkpoint that can be used."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from dm0_ros.policy.dm0_policy import Dm0Policy
from dm0_ros.policy.normalisation import load_stats
from dm0_ros.policy.tokenizer import load_tokenizer
from dm0_ros.robots import load_robot
from dm0_ros.sim.simulator import Simulator
from dm0_ros.training.dataset import Dataset
from dm0_ros.training.recipe import RecipeError, load_recipe
from dm0_ros.training.recording import load_episodes
from dm0_ros.training.rollout import evaluate
from dm0_ros.training.run import scale
from dm0_ros.training.trainer import Trainer, learning_rate

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
        losses = [float(row["flow"]) for row in csv.DictReader(file)]
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
        wording.format(object=episode.target)
        for wording in simulator.world.task().instructions.test
    }


def test_another_run_in_the_same_folder_is_refused_before_anything_is_lost(run_folder):
    from dm0_ros.cli import app

    files = [run_folder / "data/recording.json", run_folder / "checkpoint/norm_stats.json"]
    before = [file.read_bytes() for file in files]
    command = ["train", "nano-franka", "--steps", "2", "--out", str(run_folder)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code != 0
    assert "began with data.episodes" in str(result.exception or result.output)
    assert [file.read_bytes() for file in files] == before


@pytest.fixture(scope="module")
def recipe():
    recipe = load_recipe("nano-franka")
    episodes = scale(recipe, STEPS, None).data.episodes
    small = replace(recipe.optimiser, steps=4, batch=2, save_every=2)
    return replace(recipe, optimiser=small, data=replace(recipe.data, episodes=episodes))


@pytest.fixture(scope="module")
def trainer_parts(run_folder, recipe):
    checkpoint = run_folder / "checkpoint"
    dataset = Dataset(recipe, load_episodes(recipe, run_folder / "data"))
    stats = load_stats(checkpoint, recipe.network.action_dim)
    return recipe, dataset, load_tokenizer(checkpoint), stats


def test_a_frame_counts_once_for_every_object(trainer_parts):
    _, dataset, tokenizer, stats = trainer_parts
    batch = dataset.draw(np.random.default_rng(0), 5, tokenizer, stats)
    assert batch.images.shape == (5, 3, 3, 112, 112)
    assert batch.images.min() >= -1.0 and batch.images.max() <= 1.0
    assert batch.image_masks[:, 0].all() and not batch.image_masks[:, 1].any()
    assert batch.actions.shape == (15, 50, 8)
    ends = batch.actions.view(5, 3, 50, 8)[:, :, -1]
    assert (ends[:, 0] - ends[:, 1]).abs().amax(1).min() > 0.05
    sentences = {tuple(ids.tolist()) for ids in batch.token_ids[:3]}
    assert len(sentences) == 3


def test_held_out_episodes_are_whole_and_never_drawn(trainer_parts):
    _, dataset, tokenizer, stats = trainer_parts
    frames = dataset.recipe.data.frames
    assert dataset.train_size % frames == 0
    assert dataset.size - dataset.train_size >= frames
    random = np.random.default_rng(1)
    drawn = dataset.draw(random, 400, tokenizer, stats).images
    unseen = dataset.held_out(6, tokenizer, stats).images
    distances = [float((drawn - picture).abs().amax((1, 2, 3, 4)).min()) for picture in unseen]
    assert min(distances) > 0.0


def test_one_episode_is_too_little_to_hold_any_out(run_folder, recipe):
    recording = load_episodes(recipe, run_folder / "data")
    single = replace(recording, states=recording.states[: recording.together])
    with pytest.raises(RecipeError, match=r"nano-franka: .* record two episodes or more"):
        Dataset(recipe, single)


def test_an_interrupted_run_ends_as_an_uninterrupted_one(trainer_parts, tmp_path):
    class Interruption(Exception):
        pass

    def interrupt(step, loss):
        if step == 2:
            raise Interruption

    def trainer(folder):
        folder.mkdir(exist_ok=True)
        return Trainer(*trainer_parts, folder, seed=0)

    straight = trainer(tmp_path / "straight").run(lambda step, loss: None)
    with pytest.raises(Interruption):
        trainer(tmp_path / "broken").run(interrupt)
    resumed_steps = []
    resumed = trainer(tmp_path / "broken").run(lambda step, loss: resumed_steps.append(step))
    assert resumed_steps == [3, 4]
    for name, weights in straight.state_dict().items():
        assert torch.equal(weights, resumed.state_dict()[name]), name


def test_test_wordings_are_not_trained_on():
    world = Simulator(load_robot("franka")).world
    instructions = world.task().instructions
    assert not set(instructions.training) & set(instructions.test)


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
