# SPDX-License-Identifier: Apache-2.0
"""Policies by name: shipped or public checkpoints, or the path of a checkpoint folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dm0_ros.errors import CheckpointError
from dm0_ros.policy.catalogue import Entry, find_entry
from dm0_ros.policy.protocol import Policy
from dm0_ros.policy.settings import PolicySettings, load_settings
from dm0_ros.resources import find_resource, list_resources
from dm0_ros.robots.spec import RobotSpec

if TYPE_CHECKING:
    from dm0_ros.model.hub import Repository

# Stands for the checkpoint in checkpoints/ that fits the robot.
FAMILY = "dm0-nano"
_USUAL_ROBOT = "franka"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder on this machine, and what config/checkpoints.yaml says of it."""

    folder: Path
    entry: Entry | None = None  # where it was asked for by a name of that table

    def load_settings(self) -> PolicySettings:
        """The table's settings for a public checkpoint, else those of the folder's policy.yaml."""
        if self.entry is None:
            return load_settings(self.folder)
        if self.entry.settings is None:
            raise CheckpointError(
                f"{self.entry.name} was trained for no robot: train it further, or choose one of "
                "'dm0 checkpoint list' that names a robot"
            )
        return self.entry.settings


def list_shipped() -> list[str]:
    """Names of the checkpoints that come with the package: folders in checkpoints/."""
    return list_resources("checkpoints")


def choose_shipped(robot: str, task: str = "") -> str:
    """Name of the shipped checkpoint for a robot and, where given, a task.

    One that reasons before others; of several the first by name. Raises `CheckpointError` that
    lists what there is.
    """
    known = {name: load_settings(find_resource("checkpoints", name)) for name in list_shipped()}
    fitting = [
        name
        for name, settings in known.items()
        if robot in settings.robots and task in ("", settings.task)
    ]
    if fitting:
        return min(fitting, key=lambda name: known[name].scaffold is None)
    there = [
        f"{name} ({', '.join(settings.robots)}: {settings.task})"
        for name, settings in known.items()
    ]
    raise CheckpointError(
        f"{FAMILY}: no checkpoint comes with the package for {robot}{task and f' and task {task}'}"
        "; train one with a recipe of your own (docs/training.md) and give its folder as the "
        f"checkpoint (there are {', '.join(there) or 'none'})"
    )


def find_checkpoint(name_or_path: str | Path, robot: str = _USUAL_ROBOT) -> Checkpoint:
    """A folder, a shipped checkpoint, or a public one that has been downloaded.

    Shipped ones go by the names of their folders; ``dm0-nano`` is the one for ``robot``. Public
    ones go by the names of config/checkpoints.yaml (a generalist also as NAME:TASK) or
    by repository id, each with or without @REVISION. Nothing is ever downloaded here: a robot that
    starts does not wait for gigabytes. Raises `CheckpointError` with the remedy.
    """
    name = str(name_or_path)
    if name == FAMILY:
        name = choose_shipped(robot)
    if name in list_shipped():
        return Checkpoint(find_resource("checkpoints", name))
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return Checkpoint(path)
    if isinstance(name_or_path, Path) or path.is_absolute() or name.startswith((".", "~")):
        raise CheckpointError(
            f"there is no folder '{name_or_path}'; give the path of a checkpoint folder, or a name"
        )
    return _find_public(name)


def parse_public(name: str) -> tuple[Entry | None, Repository]:
    """The entry and the repository of a public checkpoint's name; see `find_checkpoint`.

    The entry is None for a repository that config/checkpoints.yaml does not list.
    """
    from dm0_ros.model import hub  # imports torch, which takes seconds

    bare, at, revision = name.partition("@")
    try:
        entry = find_entry(bare)
    except CheckpointError as cause:
        if "/" not in bare:
            raise CheckpointError(
                f"{cause}, {', '.join([FAMILY, *list_shipped()])} come with the package, and the "
                "path of a checkpoint folder will do"
            ) from cause
        entry = None
    return entry, hub.parse_name((bare if entry is None else entry.repository) + at + revision)


def _find_public(name: str) -> Checkpoint:
    from dm0_ros.model import hub

    entry, repository = parse_public(name)
    folder = hub.find_cached(repository)
    if folder is None:
        raise CheckpointError(
            f"{name} is no folder, and not on this machine as a public checkpoint: type "
            f"'dm0 checkpoint download {repository}'"
        )
    return Checkpoint(folder, entry)


def load_policy(checkpoint: str | Path, robot: RobotSpec, **options: Any) -> Policy:
    """A policy for ``robot``; options are those of `Dm0Policy.from_checkpoint`."""
    found = find_checkpoint(checkpoint, robot.name)
    settings = found.load_settings()
    from dm0_ros.policy.dm0_policy import Dm0Policy  # imports torch, which takes seconds

    return Dm0Policy.from_checkpoint(found.folder, robot, settings=settings, **options)
