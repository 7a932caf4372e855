# SPDX-License-Identifier: Apache-2.0
"""Recipes: the published stages, and how text is taught beside actions."""

import re

import pytest
import yaml

from dm0_ros.errors import Dm0Error
from dm0_ros.resources import find_resource
from dm0_ros.training.recipe import ArmRecipe, RecipeError, load_recipe
from dm0_ros.training.trainer import learning_rate

SCAFFOLD = """
scaffold: {grammar: nano, levels: [subtask, box], view: front, limit: 60}
"""


def write_recipe(folder, optimiser=None, more=""):
    """nano-franka with another optimiser section, or with more sections."""
    text = find_resource("config", "training/nano-franka.yaml").read_text()
    if optimiser is not None:
        text = text[: text.index("optimiser:")] + optimiser
    path = folder / "recipe.yaml"
    path.write_text(text + more)
    return path


# samples, GPUs, samples each, steps, first and last rate, weight decay: facts, D.1 and D.3
PUBLISHED = {
    "mid": (200e6, 64, 6, None, 2.5e-5, 1e-5, 0.01),
    "post": (50e6, 64, 6, None, 2.5e-5, 1e-5, 0.01),
    "sft": (None, 8, 4, 40_000, 5e-5, 5e-6, 1e-10),
}


@pytest.mark.parametrize("stage", PUBLISHED)
def test_stages_are_the_published_ones(stage, tmp_path):
    samples, gpus, each, steps, first, last, decay = PUBLISHED[stage]
    settings = load_recipe(write_recipe(tmp_path, f"optimiser: {{stage: {stage}}}\n")).optimiser
    assert settings.batch == gpus * each
    assert settings.steps == (steps or int(samples // (gpus * each)))
    assert settings.learning_rate == first
    assert settings.learning_rate * settings.final_rate == pytest.approx(last)
    assert settings.weight_decay == decay
    assert settings.clip == 1.0 and settings.epsilon == 1e-8
    assert settings.warm_up * settings.steps == pytest.approx(1000, abs=1)
    assert learning_rate(settings, 999) <= first == pytest.approx(learning_rate(settings, 1000))
    assert learning_rate(settings, settings.steps) == pytest.approx(last)
    assert not settings.scaled_rates and settings.recompute and settings.average == 0


def test_a_recipe_says_what_differs_from_its_stage(tmp_path):
    path = write_recipe(tmp_path, "optimiser: {stage: sft, steps: 12, average: 0.9}\n")
    settings = load_recipe(path).optimiser
    assert (settings.steps, settings.average, settings.learning_rate) == (12, 0.9, 5e-5)


def test_an_unknown_stage_is_named_with_those_that_there_are(tmp_path):
    with pytest.raises(Dm0Error, match=r"stages/pre.yaml"):
        load_recipe(write_recipe(tmp_path, "optimiser: {stage: pre}\n"))


def test_a_wrong_value_beside_a_stage_has_its_line(tmp_path):
    path = write_recipe(tmp_path, "optimiser:\n  stage: sft\n  steps: many\n")
    line = path.read_text().splitlines().index("  steps: many") + 1
    with pytest.raises(RecipeError, match=rf"recipe.yaml:{line}: optimiser.steps"):
        load_recipe(path)


def test_text_is_taught_where_there_is_a_scaffold(tmp_path):
    assert load_recipe("nano-franka").teaching is None
    recipe = load_recipe(write_recipe(tmp_path, more=SCAFFOLD))
    assert isinstance(recipe, ArmRecipe)
    assert recipe.teaching.decouple and recipe.teaching.text_weight == 1.0
    more = SCAFFOLD + "hybrid: {decouple: false, shown: {none: 1.0, box: 3.0}, stale: 0.25}\n"
    taught = load_recipe(write_recipe(tmp_path, more=more)).teaching
    assert not taught.decouple
    assert (taught.stale, taught.shown) == (0.25, {"none": 1.0, "box": 3.0})


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{shown: {boxes: 1.0}}", "hybrid.shown.boxes: is no level; write none, subtask, box"),
        ("{shown: {trajectory: 1.0}}", "hybrid.shown.trajectory: is no level of 'scaffold'"),
        ("{shown: {box: -1.0}}", "hybrid.shown.box: is -1.0; it cannot be negative"),
        ("{shown: {box: 0.0}}", "hybrid.shown: has no weight above zero"),
        ("{stale: 1.5}", "hybrid.stale: is 1.5; it is a share"),
        ("{stale_frames: 0}", "hybrid.stale_frames: is 0; at least 1"),
    ],
)
def test_contradictions_are_named_with_their_place(section, words, tmp_path):
    path = write_recipe(tmp_path, more=SCAFFOLD + f"hybrid: {section}\n")
    with pytest.raises(RecipeError, match=rf"recipe.yaml:\d+: {re.escape(words)}"):
        load_recipe(path)


def test_stages_say_what_is_not_established():
    for stage in PUBLISHED:
        path = find_resource("config", f"training/stages/{stage}.yaml")
        assert "ot established" in path.read_text()
        assert set(yaml.safe_load(path.read_text())) >= {"steps", "batch", "learning_rate"}
