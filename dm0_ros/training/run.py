# SPDX-License-Identifier: Apache-2.0
"""One training run from recipe to checkpoint: record, tokenise, train, write."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import yaml

from dm0_ros.model import DM0
from dm0_ros.model.checkpoint import FLOAT32
from dm0_ros.policy.normalisation import NormStats, save_stats
from dm0_ros.policy.registry import find_checkpoint
from dm0_ros.policy.tokenizer import load_tokenizer
from dm0_ros.robots import load_robot
from dm0_ros.scaffold.settings import ScaffoldSettings
from dm0_ros.training.continuity import check_settings, keep_stats
from dm0_ros.training.dataset import Dataset, Recording
from dm0_ros.training.driving import load_drives, record_drives
from dm0_ros.training.hybrid_data import HybridDataset
from dm0_ros.training.logs import LossLog, write_losses
from dm0_ros.training.processes import Processes, join_processes
from dm0_ros.training.recipe import ArmRecipe, DrivingRecipe, Recipe, RecipeError, SourceRecipe
from dm0_ros.training.recording import load_episodes, record_episodes
from dm0_ros.training.source_data import SourceDataset
from dm0_ros.training.trainer import Trainer
from dm0_ros.training.vocabulary import (
    add_speech,
    copy_tokenizer,
    save_tokenizer,
    train_tokenizer,
)


@dataclass(frozen=True)
class Progress:
    """Where a person is told about: what is under way, how far, and the latest losses."""

    stage: str
    done: int
    total: int
    losses: Mapping[str, float] = field(default_factory=dict)


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
    share = 1.0
    if steps is not None:
        share = min(1.0, steps / recipe.optimiser.steps)
        recipe = replace(recipe, optimiser=replace(recipe.optimiser, steps=steps))
    if isinstance(recipe, SourceRecipe):
        if amount is not None:
            raise RecipeError(f"{recipe.name}: records no episodes; leave their number out")
        return recipe
    source, data = _SOURCES[type(recipe)], recipe.data
    if steps is not None:
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

    Returns the folder of the finished checkpoint. Raises `RecipeError` where the first call was
    of another recipe or seed, or the data have changed since.
    """
    with join_processes(device) as processes:
        return _train(recipe, seed, folder, workers, device, report, processes)


def _train(
    recipe: Recipe,
    seed: int,
    folder: Path,
    workers: int,
    device: str,
    report: Callable[[Progress], None],
    processes: Processes,
) -> Path:
    """Every process comes here; the one that leads writes what the others read."""
    checkpoint = folder / "checkpoint"
    if processes.leads:
        check_settings(folder, recipe, seed)
    if isinstance(recipe, SourceRecipe):
        dataset = SourceDataset(recipe, checkpoint)
    else:
        dataset = _record(recipe, seed, folder / "data", workers, report, processes)
    stats = keep_stats(folder, dataset.stats(), processes.leads)
    initial = find_checkpoint(recipe.initial).folder if recipe.initial else None
    if processes.leads:
        checkpoint.mkdir(parents=True, exist_ok=True)
        _write_tokenizer(recipe, dataset, stats, initial, checkpoint)
    processes.wait()
    tokenizer = load_tokenizer(checkpoint)
    trainer = Trainer(recipe, dataset, tokenizer, stats, folder, seed, device, initial, processes)
    network = _learn(trainer, folder, report)
    if processes.leads:
        write_losses(trainer.losses, folder)
        write_checkpoint(recipe, network, stats, checkpoint)
    processes.wait()
    return checkpoint


def _record(
    recipe: Recipe,
    seed: int,
    data: Path,
    workers: int,
    report: Callable[[Progress], None],
    processes: Processes,
) -> Dataset:
    source = _SOURCES[type(recipe)]
    if processes.leads:
        source.record(recipe, seed, data, workers, lambda n, of: report(Progress("record", n, of)))
    processes.wait()
    kind = HybridDataset if recipe.teaching else Dataset
    return kind(recipe, source.load(recipe, data))


def _learn(trainer: Trainer, folder: Path, report: Callable[[Progress], None]) -> DM0:
    steps = trainer.settings.steps
    if not trainer.processes.leads:
        return trainer.run(lambda step, losses: None)
    log = LossLog(folder / "tensorboard", trainer.step)

    def tell(step: int, losses: Mapping[str, float]) -> None:
        log.note(step, losses)
        report(Progress("train", step, steps, losses))

    try:
        return trainer.run(tell)
    finally:
        log.close()


def _write_tokenizer(
    recipe: Recipe,
    dataset: Dataset | SourceDataset,
    stats: NormStats,
    initial: Path | None,
    folder: Path,
) -> None:
    size = recipe.network.llm.vocab_size
    if initial:
        copy_tokenizer(initial, folder)
        if recipe.scaffold or isinstance(recipe, SourceRecipe):
            add_speech(folder, size)
        return
    answers = dataset.answers(stats) if recipe.scaffold else None
    save_tokenizer(train_tokenizer(dataset.sentences(), size, answers), folder)


def write_checkpoint(recipe: Recipe, network: DM0, stats: NormStats, folder: Path) -> None:
    """Put everything that a policy needs but the tokenizer into a folder that there is."""
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
    }
    if isinstance(recipe, (ArmRecipe, DrivingRecipe)):
        settings |= {"world": recipe.world, "task": recipe.task}
    if recipe.executed_rows:
        settings["executed_rows"] = recipe.executed_rows
    if recipe.scaffold:
        settings["scaffold"] = _plain(recipe.scaffold)
    text = "# How to feed this checkpoint. Units: s.\n" + yaml.safe_dump(settings, sort_keys=False)
    (folder / "policy.yaml").write_text(text, encoding="utf-8")


def _plain(scaffold: ScaffoldSettings) -> dict:
    """As YAML has it."""
    parts = asdict(scaffold) | {"levels": [level.value for level in scaffold.levels]}
    return {key: list(part) if isinstance(part, tuple) else part for key, part in parts.items()}


def halve(network: DM0) -> DM0:
    """A copy with weights in bfloat16, but for those that public checkpoints keep in float32.

    Half the size on disk; read as float32 again, it is the same within three digits.
    """
    copied = copy.deepcopy(network)
    for name, parameter in copied.named_parameters():
        if not FLOAT32.fullmatch(name):
            parameter.data = parameter.data.bfloat16()
    return copied
