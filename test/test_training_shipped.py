# SPDX-License-Identifier: Apache-2.0
"""The checkpoint that ships: whole, small, and able to do what it is for."""

import pytest

from dm0_ros.policy.registry import find_checkpoint, load_policy
from dm0_ros.robots import load_robot
from dm0_ros.sim.simulator import Simulator
from dm0_ros.training.recipe import load_recipe
from dm0_ros.training.rollout import evaluate

FRANKA = load_robot("franka")


@pytest.fixture(scope="module")
def policy():
    return load_policy("dm0-nano", FRANKA)


def test_it_is_small_and_has_a_model_card():
    folder = find_checkpoint("dm0-nano").folder
    assert sum(path.stat().st_size for path in folder.iterdir()) < 20e6
    card = (folder / "README.md").read_text()
    assert "dm0 train nano-franka --seed 0" in card


def test_it_is_what_its_recipe_makes(policy):
    recipe = load_recipe("nano-franka")
    assert policy.spec.name == f"dm0-{recipe.name}"
    assert policy.spec.horizon == recipe.network.chunk_size
    assert policy.spec.step == recipe.step
    masked = recipe.masked_slots
    assert policy.spec.camera_slots == tuple(s for s in FRANKA.camera_slots if s not in masked)


def test_it_follows_instructions_in_words_it_was_not_trained_on(policy):
    simulator = Simulator(FRANKA)
    episodes = evaluate(policy, simulator, episodes=6, seed=5, time_limit=10.0)
    simulator.close()
    # Chance is two of six; rounding differs between machines, so one miss is forgiven.
    assert sum(episode.success for episode in episodes) >= 5, episodes
