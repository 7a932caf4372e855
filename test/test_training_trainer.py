# SPDX-License-Identifier: Apache-2.0
"""The training loop on text and actions: it learns, and goes on where it stopped, bit for bit."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hybrid_samples import TEACHING, tiny_recipe, tiny_trainer

from dm0_ros.errors import Dm0Error
from dm0_ros.training.processes import Processes

PROGRAM = Path(__file__).with_name("hybrid_run.py")


def train(folder, *arguments):
    """Losses of a run in a process of its own."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(PROGRAM), str(folder), *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one(tmp_path):
    straight = train(tmp_path / "straight")
    assert set(straight) == {"text", "flow"} and len(straight["text"]) == 40
    first = train(tmp_path / "broken", "--until", "20")
    assert len(first["text"]) == 20
    resumed = train(tmp_path / "broken")
    assert resumed == straight  # floats as JSON has them are exact
    nets = [torch.load(tmp_path / name / "network.pt") for name in ("straight", "broken")]
    for name, weights in nets[0].items():
        assert torch.equal(weights, nets[1][name]), name


def test_both_losses_fall(tmp_path):
    recipe = tiny_recipe(steps=60, batch=4)
    trainer = tiny_trainer(tmp_path, recipe)
    trainer.run(lambda step, losses: None)
    for name in ("text", "flow"):
        losses = trainer.losses[name]
        assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10]), name


def losses_after(folder, recipe):
    folder.mkdir()
    trainer = tiny_trainer(folder, recipe)
    trainer.run(lambda step, losses: None)
    return trainer


def test_decoupling_is_what_the_recipe_says(tmp_path):
    """Where no text is learnt, a decoupled trunk does not move at all, and a coupled one does."""
    moved = {}
    for decouple in (True, False):
        teaching = replace(TEACHING, decouple=decouple, shown={})
        recipe = tiny_recipe(steps=2, weight_decay=0.0)
        recipe = replace(recipe, scaffold=None, hybrid=teaching)
        folder = tmp_path / str(decouple)
        folder.mkdir()
        trainer = tiny_trainer_without_text(folder, recipe)
        before = {name: part.clone() for name, part in trainer.model.named_parameters()}
        trainer.run(lambda step, losses: None)
        after = trainer.model.named_parameters()
        moved[decouple] = {name for name, part in after if not torch.equal(part, before[name])}
    trunk = {name for name in moved[False] if not name.startswith("model.action_")}
    assert len(trunk) > 20
    assert moved[True] and not moved[True] & trunk


def tiny_trainer_without_text(folder, recipe):
    """As `tiny_trainer`, with the tokenizer of a recipe that has text."""
    tiny_trainer(folder, tiny_recipe(steps=recipe.optimiser.steps))
    return tiny_trainer(folder, recipe)


def test_weights_of_the_losses_are_those_of_the_recipe(tmp_path):
    recipe = tiny_recipe(steps=2, weight_decay=0.0)
    silent = replace(recipe, hybrid=replace(TEACHING, text_weight=0.0))
    trainer = tiny_trainer(tmp_path, silent)
    head = "model.llm.embed_tokens.weight"
    before = dict(trainer.model.named_parameters())[head].clone()
    trainer.run(lambda step, losses: None)
    assert torch.equal(dict(trainer.model.named_parameters())[head], before)


def test_recomputed_layers_change_no_loss(tmp_path):
    plain = losses_after(tmp_path / "plain", tiny_recipe(steps=3))
    careful = losses_after(tmp_path / "careful", tiny_recipe(steps=3, recompute=True))
    assert careful.losses == plain.losses


def test_without_a_mean_the_last_weights_are_the_result(tmp_path):
    trainer = tiny_trainer(tmp_path, tiny_recipe(steps=3, average=0.0))
    assert trainer.run(lambda step, losses: None) is trainer.model


def test_a_state_is_whole_or_absent(tmp_path, monkeypatch):
    """What is interrupted while it writes leaves the state before it."""
    trainer = tiny_trainer(tmp_path, tiny_recipe(steps=4, save_every=2))

    def fail(*arguments):
        raise OSError("no space left")

    def stop_saving(step, losses):
        if step == 2:
            monkeypatch.setattr("dm0_ros.training.trainer.os.replace", fail)

    with pytest.raises(OSError, match="no space"):
        trainer.run(stop_saving)
    monkeypatch.undo()
    assert tiny_trainer(tmp_path, tiny_recipe(steps=4)).step == 2


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    with pytest.raises(Dm0Error, match="3 frames cannot be shared equally by 2 processes"):
        tiny_trainer(tmp_path, tiny_recipe(batch=3), Processes(0, 2))
