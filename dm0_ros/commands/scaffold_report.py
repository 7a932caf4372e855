# SPDX-License-Identifier: Apache-2.0
"""What `dm0 eval scaffold` judges, and how it shows what came of it."""

from dataclasses import replace

from dm0_ros.errors import CheckpointError, Dm0Error
from dm0_ros.policy.registry import choose_shipped, find_checkpoint
from dm0_ros.policy.settings import PolicySettings
from dm0_ros.training.recipe import ArmRecipe, load_recipe

_PREFIX = "dm0-"  # that names of checkpoints have before the recipe's


def choose_checkpoint(name: str, robot: str, task: str) -> tuple[str, PolicySettings]:
    """The checkpoint of that name and its settings; without one, the shipped one for the robot
    and, where given, the task. Raises `CheckpointError` where it does not reason."""
    name = name or choose_shipped(robot, task)
    settings = find_checkpoint(name, robot).load_settings()
    if settings.scaffold is None:
        raise CheckpointError(
            f"{settings.name} says nothing before it acts: its policy.yaml has no section "
            "'scaffold'. Choose a checkpoint that was trained with scaffolds"
        )
    return name, settings


def find_recipe(name: str, settings: PolicySettings, task: str) -> ArmRecipe:
    """The recipe whose expert tells the true way, with world, task and scaffold of the checkpoint.

    Without a name, the one that the checkpoint is named after. Raises `Dm0Error`.
    """
    if not name and not settings.name.startswith(_PREFIX):
        raise Dm0Error(
            f"{settings.name} does not say by which recipe it was trained: give --recipe"
        )
    recipe = load_recipe(name or settings.name.removeprefix(_PREFIX))
    if not isinstance(recipe, ArmRecipe):
        raise Dm0Error(f"{recipe.name} is for a base, which has no scaffolds; choose an arm's")
    world, own = settings.world or recipe.world, settings.task or recipe.task
    return replace(recipe, scaffold=settings.scaffold, world=world, task=task or own)


def show(figures: dict) -> None:
    """The figures as a table on the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table("measure", "mean", "95 %", "of")
    plans, of_box, of_path = (figures[f"{key}plans"] for key in ("", "box_", "path_"))
    due = f"{of_path} of {figures['path_due_plans']} plans"
    rows = (
        ("success", "success", 2, f"{figures['episodes']} episodes"),
        ("valid texts", "valid_fraction", 3, f"{plans} plans"),
        ("subtask right", "subtask_right", 3, f"{plans} plans"),
        ("box IoU, invalid: 0", "box_iou", 3, f"{of_box} plans"),
        ("path error, px of 224", "path_error_px", 1, due),
        ("tokens", "tokens", 1, f"{plans} plans"),
        ("ms of text", "milliseconds", 1, f"{plans} plans"),
    )
    for label, key, digits, of in rows:
        if figures[key] is None:
            table.add_row(label, "-", "", of)
            continue
        low, high = figures[f"{key}_95"]
        bounds = f"{low:.{digits}f} to {high:.{digits}f}"
        table.add_row(label, f"{figures[key]:.{digits}f}", bounds, of)
    Console().print(table)
