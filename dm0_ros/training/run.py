# SPDX-License-Identifier: Apache-2.0
"""One training run from recipe to checkpoint: record, tokenise, train, write."""

import copy
import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from dm0_ros.model import DM0
from dm0_ros.model.checkpoint import FLOAT32
from dm0_ros.policy.normalisation import NormStats, save_stats
from dm0_ros.policy.registry import find_checkpoint
from dm0_ros.policy.tokenizer import load_tokenizer
from dm0_ros.robots import load_robot
from dm0_ros.training.dataset import Dataset, Recording
from dm0_ros.training.driving import load_drives, record_drives
from dm0_ros.training.recipe import ArmRecipe, DrivingRecipe, Recipe
from dm0_ros.training.recording import load_episodes, record_episodes
from dm0_ros.training.trainer import Trainer
from dm0_ros.training.vocabulary import copy_tokenizer, save_tokenizer, train_tokenizer


@dataclass(frozen=True)
class Progress:
    """Where a person is told about: what is under way, how far, and the latest loss."""

    stage: str
    done: int
    total: int
    loss: float | None = None


@dataclass(frozen=True)
class _Source:
    """Where the data of a kind of recipe come from."""

    record: Callable[[Recipe, int, Path, int, Callable[[int, int], None]], None]
    load: Callable[[Recipe, Path], Recording]
    unit: str  # key of the recipe's data that says how much is recorded
    fewest: int  # of them, in a trial run


_SOURCES = {
    ArmRecipe: _Source(record_episodes, load_episodes, "episodes", 20),
    DrivingRecipe: _Source(record_drives, load_drives, "frames", 100),
}


def scale(recipe: Recipe, steps: int | None, amount: int | None) -> Recipe:
    """The recipe with another number of steps, and of episodes or frames, where given.

    Fewer steps alone also record less, in proportion: a trial run should be short.
    """
    source, data = _SOURCES[type(recipe)], recipe.data
    if steps is not None:
        share = min(1.0, steps / recipe.optimiser.steps)
        recipe = replace(recipe, optimiser=replace(recipe.optimiser, steps=steps))
        amount = amount or max(source.fewest, round(getattr(data, source.unit) * share))
    if amount is not None:
        recipe = replace(recipe, data=replace(data, **{source.unit: amount}))
    return recipe


def train(
    recipe: Recipe,
    seed: int,
    folder: Path,
    workers: int,
    device: str,
    report: Callable[[Progress], None],
) -> Path:
    """Run the recipe in ``folder``; a second call goes on where the first stopped.

    Returns the folder of the finished checkpoint.
    """
    source, data = _SOURCES[type(recipe)], folder / "data"
    source.record(recipe, seed, data, workers, lambda n, of: report(Progress("record", n, of)))
    dataset = Dataset(recipe, source.load(recipe, data))
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir(parents=True, exist_ok=True)
    initial = find_checkpoint(recipe.initial).folder if recipe.initial else None
    if initial:
        copy_tokenizer(initial, checkpoint)
    else:
        vocabulary = train_tokenizer(dataset.sentences(), recipe.network.llm.vocab_size)
        save_tokenizer(vocabulary, checkpoint)
    stats = dataset.stats()
    tokenizer = load_tokenizer(checkpoint)
    trainer = Trainer(recipe, dataset, tokenizer, stats, folder, seed, device, initial)
    steps = recipe.optimiser.steps
    network = trainer.run(lambda n, loss: report(Progress("train", n, steps, loss)))
    _write_losses(trainer.losses, folder)
    _write_checkpoint(recipe, network, stats, checkpoint)
    return checkpoint


def _write_checkpoint(recipe: Recipe, network: DM0, stats: NormStats, folder: Path) -> None:
    halve(network).save_pretrained(folder)
    save_stats(stats, folder)
    robot = load_robot(recipe.robot)
    settings = {
        "name": f"dm0-{recipe.name}",
        "robots": [robot.name],  # the recipe may give a path
        "layout": recipe.layout,
        "step": recipe.step,
        "normalisation": recipe.normalisation.value,
        "max_text_tokens": recipe.max_text_tokens,
        "pad_colour": recipe.picture_pad.value,
        "camera_slots": list(robot.camera_slots),
        "masked_slots": list(recipe.masked_slots),
        "world": recipe.world,
        "task": recipe.task,
    }
    if recipe.executed_rows:
        settings["executed_rows"] = recipe.executed_rows
    text = "# How to feed this checkpoint. Units: s.\n" + yaml.safe_dump(settings, sort_keys=False)
    (folder / "policy.yaml").write_text(text, encoding="utf-8")


def halve(network: DM0) -> DM0:
    """A copy with weights in bfloat16, but for those that public checkpoints keep in float32.

    Half the size on disk; read as float32 again, it is the same within three digits.
    """
    copied = copy.deepcopy(network)
    for name, parameter in copied.named_parameters():
        if not FLOAT32.fullmatch(name):
            parameter.data = parameter.data.bfloat16()
    return copied


def _write_losses(losses: list[float], folder: Path) -> None:
    """Loss of every step as CSV, and its curve as a picture."""
    from matplotlib.figure import Figure  # takes a second to import

    with open(folder / "loss.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("step", "loss"), *enumerate(losses, start=1)])
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.semilogy(range(1, len(losses) + 1), losses, linewidth=0.5, alpha=0.6)
    axes.set(xlabel="step", ylabel="flow-matching loss", title=folder.name)
    axes.grid(True, which="both", alpha=0.3)
    figure.savefig(folder / "loss.png", dpi=120)
