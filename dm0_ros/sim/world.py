# SPDX-License-Identifier: Apache-2.0
"""A world: what stands around the robot, and what can be asked of it. Read from config/worlds/."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from dm0_ros.errors import RobotError
from dm0_ros.resources import find_resource
from dm0_ros.robots.parsing import build, read_yaml

_ATTEMPTS = 10_000  # to find a place for an object
_FRESH_START = 500  # attempts after which all of them are placed anew

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Table:
    """A box to put things on; its top is at ``position.z + size.z / 2``."""

    position: tuple[float, float, float]
    size: tuple[float, float, float]
    colour: Colour

    @property
    def top(self) -> float:
        """Height of the table's surface, m."""
        return self.position[2] + self.size[2] / 2


@dataclass(frozen=True)
class Block:
    """A cube that can be touched and pushed."""

    name: str
    size: float  # m, edge
    mass: float  # kg
    colour: Colour


@dataclass(frozen=True)
class Placement:
    """Where objects may lie: a rectangle (x, y), and how far apart their centres stay, m."""

    lower: tuple[float, float]
    upper: tuple[float, float]
    min_distance: float
    turn: float = np.pi / 4  # rad: the most that they are turned, either way


@dataclass(frozen=True)
class Bin:
    """An open box on the table that things can be put into."""

    position: tuple[float, float]  # of its centre, m
    size: tuple[float, float]  # inside, m
    height: float  # of its rim above the table, m
    colour: Colour
    wall: float = 0.006  # m

    def holds(self, place: np.ndarray) -> bool:
        """Whether a place (2,) lies within its walls."""
        offset = np.abs(np.asarray(place) - self.position)
        return bool(np.all(offset < np.array(self.size) / 2))


@dataclass(frozen=True)
class Instructions:
    """Sentences with ``{object}`` in them: some to train on, others to be judged on."""

    training: tuple[str, ...]
    test: tuple[str, ...]
    subtasks: dict[str, str] = field(default_factory=dict)  # by `Phase`: what is done just now


class TaskKind(str, Enum):
    """What has to happen to the named object, and so what the simulator watches for."""

    TOUCH = "touch"  # any part of the robot comes into contact with it
    PLACE = "place"  # it lies in the bin, and the robot has let go of it


class Phase(str, Enum):
    """What is being done about the named object just now, in this order."""

    ABOVE = "above"  # the fingers are on their way to it
    LOWER = "lower"  # they come down on it
    GRASP = "grasp"  # they close on it
    CARRY = "carry"  # they hold it, on the way into the bin
    RELEASE = "release"  # they open over the middle of the bin
    LEAVE = "leave"  # it lies in the bin

    @property
    def ends_in_bin(self) -> bool:
        """Whether the bin is the goal now, not the object any more."""
        return self in (Phase.CARRY, Phase.RELEASE, Phase.LEAVE)


PHASES = {TaskKind.TOUCH: (Phase.ABOVE, Phase.LOWER), TaskKind.PLACE: tuple(Phase)}


@dataclass(frozen=True)
class TaskDescription:
    """One thing that can be asked for in a world."""

    kind: TaskKind
    instructions: Instructions

    def __post_init__(self) -> None:
        worded, phases = self.instructions.subtasks, [phase.value for phase in PHASES[self.kind]]
        if worded and set(worded) != set(phases):
            message = f"a task of kind {self.kind.value} has the phases {', '.join(phases)}"
            message += f", but worded are {', '.join(worded)}"
            raise RobotError(message, key=("instructions", "subtasks"))

    def subtask(self, phase: Phase, name: str) -> str:
        """In words, what is being done about the object of that name.

        Raises `RobotError` where the task has no words for it.
        """
        if phase.value not in self.instructions.subtasks:
            raise RobotError(
                f"no words for the phase {phase.value} of a task of kind {self.kind.value}; add "
                "'subtasks' to its file in config/instructions/"
            )
        return self.instructions.subtasks[phase.value].format(object=name)


@dataclass(frozen=True)
class World:
    """Everything around the robot."""

    name: str
    table: Table
    objects: tuple[Block, ...]
    placement: Placement
    tasks: dict[str, TaskDescription]
    bin: Bin | None = None

    def __post_init__(self) -> None:
        for name, task in self.tasks.items():
            if task.kind is TaskKind.PLACE and self.bin is None:
                message = f"task {name} needs a 'bin' in this world; add one"
                raise RobotError(message, key=("tasks", name, "kind"))

    @property
    def object_names(self) -> tuple[str, ...]:
        """Names of the objects, in the order of the file."""
        return tuple(block.name for block in self.objects)

    def task(self, name: str = "") -> TaskDescription:
        """The task of that name; without one the first. Raises `RobotError` if there is none."""
        if not self.tasks:
            raise RobotError(f"world {self.name}: has no tasks; add one")
        if not name:
            return next(iter(self.tasks.values()))
        if name not in self.tasks:
            raise RobotError(
                f"world {self.name}: has no task '{name}'; its tasks are {', '.join(self.tasks)}"
            )
        return self.tasks[name]

    def place(self, random: np.random.Generator) -> np.ndarray:
        """Random poses (N, 3) of the objects: x, y in m, yaw in rad.

        Raises `RobotError` where the region is too small for the objects' distance.
        """
        spots: list[np.ndarray] = []
        for attempt in range(1, _ATTEMPTS):
            if attempt % _FRESH_START == 0:
                spots.clear()  # the first ones may have left no room for the last
            spot = random.uniform(self.placement.lower, self.placement.upper)
            if all(np.linalg.norm(spot - other) >= self.placement.min_distance for other in spots):
                spots.append(spot)
            if len(spots) == len(self.objects):
                turn = self.placement.turn
                yaws = random.uniform(-turn, turn, len(spots))
                return np.column_stack([np.stack(spots), yaws])
        raise RobotError(
            f"world {self.name}: placement has no room for {len(self.objects)} objects"
        )


def load_world(name: str) -> World:
    """The world ``config/worlds/<name>.yaml``. Raises `RobotError` that names what is wrong."""
    path = find_resource("config", f"worlds/{name}.yaml")
    content = read_yaml(path)
    tasks = content.get("tasks")
    for task in tasks.values() if isinstance(tasks, dict) else ():
        _insert_instructions(task)
    return build(World, content)


def _insert_instructions(task: Any) -> None:
    """Puts the content of its file in config/instructions/ in place of the name.

    In place, for then the task still knows its lines.
    """
    if isinstance(task, dict) and isinstance(task.get("instructions"), str):
        path = find_resource("config", f"instructions/{task['instructions']}.yaml")
        task["instructions"] = read_yaml(path)
