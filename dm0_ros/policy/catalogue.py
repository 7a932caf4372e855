# SPDX-License-Identifier: Apache-2.0
"""The public checkpoints as config/checkpoints.yaml lists them, each with its settings."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from dm0_ros.errors import CheckpointError
from dm0_ros.policy.actions import GripperRule
from dm0_ros.policy.normalisation import Normalisation
from dm0_ros.policy.pictures import PadColour
from dm0_ros.policy.settings import PolicySettings
from dm0_ros.resources import find_resource
from dm0_ros.robots.parsing import load_yaml

FILE_NAME = "checkpoints.yaml"


@dataclass(frozen=True)
class RobotData:
    """How the checkpoints' data of one robot are laid out; the keys are explained in the YAML."""

    layout: str
    camera_slots: tuple[str, ...]
    step: float
    rows: int
    masked_slots: tuple[str, ...] = ()
    gripper: GripperRule | None = None
    fits: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    state_columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Defaults:
    """What holds for every checkpoint that does not say otherwise."""

    normalisation: Normalisation
    max_text_tokens: int
    pad_colour: PadColour


@dataclass(frozen=True)
class Task:
    """One task of Table30, and how its specialist and the robot's generalist do it."""

    robot: str
    rows: tuple[int, int]
    prompt: str
    step: float | None = None
    threshold: float | None = None
    half_speed: bool = False
    progress: bool = False
    max_text_tokens: int | None = None
    clip: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class General:
    """A checkpoint that is not for one task."""

    robot: str | None = None
    generalist: bool = False
    normalisation: Normalisation | None = None
    max_text_tokens: int | None = None


@dataclass(frozen=True)
class Table:
    """The content of config/checkpoints.yaml."""

    repository: str
    specialist: str
    defaults: Defaults
    robots: dict[str, RobotData]
    checkpoints: dict[str, General]
    tasks: dict[str, Task]

    def __post_init__(self) -> None:
        for name, item in {**self.checkpoints, **self.tasks}.items():
            if item.robot is not None and item.robot not in self.robots:
                raise CheckpointError(
                    f"{name} is for robot '{item.robot}', which robots lacks; it has "
                    f"{', '.join(self.robots)}",
                    key=("tasks" if name in self.tasks else "checkpoints", name, "robot"),
                )


@dataclass(frozen=True)
class Entry:
    """One public checkpoint, or one task of a generalist."""

    name: str
    repository: str  # on the hub
    robot: str | None = None  # whose data it was trained with; None: to be trained further
    prompts: tuple[str, ...] = ()  # what it was trained to read
    columns: tuple[str, ...] = ()  # of an action, where config/ has no such robot
    state_columns: tuple[str, ...] = ()
    settings: PolicySettings | None = None
    tasks: tuple[str, ...] = field(default=(), repr=False)  # of a generalist: names of entries


@lru_cache
def load_catalogue(path: Path | None = None) -> dict[str, Entry]:
    """Every entry by name: checkpoints in the table's order, then the generalists' tasks.

    Reads ``config/checkpoints.yaml``, or the YAML file at ``path``. Raises `CheckpointError` that
    names the key where something is wrong.
    """
    path = path or find_resource("config", FILE_NAME)
    table = load_yaml(Table, path, CheckpointError)
    entries = [*_list_general(table), *_list_specialists(table)]
    entries += [entry for general in entries for entry in _list_tasks(table, general)]
    return {entry.name: entry for entry in entries}


def find_entry(name: str) -> Entry:
    """The entry of a short name or repository id; `CheckpointError` with the likely names."""
    catalogue = load_catalogue()
    for entry in catalogue.values():
        if name in (entry.name, entry.repository):
            return entry
    close = difflib.get_close_matches(name, catalogue, n=3, cutoff=0.4)
    raise CheckpointError(
        f"there is no public checkpoint '{name}'; "
        + (f"did you mean {', '.join(close)}? " if close else "")
        + "'dm0 checkpoint list' has all names"
    )


def _list_general(table: Table) -> Iterator[Entry]:
    for name, general in table.checkpoints.items():
        tasks = [
            task for task, item in table.tasks.items()
            if general.generalist and item.robot == general.robot
        ]  # fmt: skip
        entry = Entry(name, table.repository.format(name=name), general.robot)
        if general.robot is not None:
            changes = _given(general, "normalisation", "max_text_tokens")
            entry = _fill(table, replace(entry, tasks=tuple(f"{name}:{task}" for task in tasks)))
            settings = replace(entry.settings, **changes)
            prompts = tuple(table.tasks[task].prompt for task in tasks)
            entry = replace(entry, settings=settings, prompts=prompts)
        yield entry


def _list_specialists(table: Table) -> Iterator[Entry]:
    for name, task in table.tasks.items():
        short = table.specialist.format(task=name)
        entry = Entry(short, table.repository.format(name=short), task.robot, (task.prompt,))
        settings = _settle(_fill(table, entry).settings, task, task.rows[0], task.step)
        own = {"progress": task.progress, **_given(task, "max_text_tokens")}
        yield replace(_fill(table, entry), settings=replace(settings, **own))


def _list_tasks(table: Table, general: Entry) -> Iterator[Entry]:
    for name in general.tasks:
        task = table.tasks[name.partition(":")[2]]
        settings = _settle(replace(general.settings, name=name), task, task.rows[1], None)
        yield replace(general, name=name, prompts=(task.prompt,), settings=settings, tasks=())


def _fill(table: Table, entry: Entry) -> Entry:
    """The entry with what its robot and the defaults say."""
    robot = table.robots[entry.robot]
    settings = PolicySettings(
        name=entry.name,
        robots=robot.fits or (entry.robot,),
        layout=robot.layout,
        step=robot.step,
        normalisation=table.defaults.normalisation,
        max_text_tokens=table.defaults.max_text_tokens,
        pad_colour=table.defaults.pad_colour,
        camera_slots=robot.camera_slots,
        masked_slots=robot.masked_slots,
        executed_rows=robot.rows,
        gripper=robot.gripper,
        progress=False,
    )
    columns = {"columns": robot.columns, "state_columns": robot.state_columns or robot.columns}
    return replace(entry, settings=settings, **columns)


def _settle(settings: PolicySettings, task: Task, rows: int, step: float | None) -> PolicySettings:
    """The settings with what the task says; ``rows`` are executed, ``step`` s apart if given."""
    step = settings.step if step is None else step
    gripper = settings.gripper
    if task.threshold is not None:
        if gripper is None:
            raise CheckpointError(f"{FILE_NAME}: {settings.name}: its robot has no gripper rule")
        gripper = replace(gripper, threshold=task.threshold)
    return replace(
        settings,
        step=stretch_step(step, rows) if task.half_speed else step,
        executed_rows=rows,
        gripper=gripper,
        clip=task.clip,
    )


def stretch_step(step: float, rows: int) -> float:
    """Seconds between rows for which ``rows`` take as long as 2 * ``rows``, ``step`` s apart.

    Resampling ``rows`` rows to twice as many keeps the first and the last, so a row that was one
    step further is (2 rows - 1) / (rows - 1) new rows further. A plan has time in it, so the same
    motion needs no other rows.
    """
    return step * (2 * rows - 1) / (rows - 1)


def _given(item: object, *names: str) -> dict[str, object]:
    return {name: getattr(item, name) for name in names if getattr(item, name) is not None}
