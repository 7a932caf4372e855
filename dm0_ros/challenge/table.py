# SPDX-License-Identifier: Apache-2.0
"""The thirty tasks of Table30 and their platform, as config/challenge/table30.yaml has them."""

import difflib
from dataclasses import dataclass
from functools import lru_cache

from dm0_ros.challenge.errors import ChallengeError
from dm0_ros.errors import CheckpointError
from dm0_ros.policy import catalogue
from dm0_ros.resources import find_resource
from dm0_ros.robots import RobotSpec, load_robot
from dm0_ros.robots.parsing import load_yaml

FILE_NAME = "challenge/table30.yaml"


@dataclass(frozen=True)
class PlatformData:
    """Where the platform is and what its rules are; the keys are explained in the YAML."""

    address: str
    robot_path: str
    picture: tuple[int, int]
    time_limit: float
    finished_polls: int


@dataclass(frozen=True)
class ClientSettings:
    """What the client bears before it gives up, by name; the keys are explained in the YAML."""

    timeout: float
    max_answer: int
    attempts: int
    pause: float
    longest_pause: float
    poll: float
    refusals: int
    patience: float
    idle_limit: float
    max_age: float
    clock_probes: int
    probe_pause: float


@dataclass(frozen=True)
class Station:
    """One robot as the platform has it; the keys are explained in the YAML."""

    action_types: dict[str, str]
    quaternions: bool
    gripper: tuple[float, float]


@dataclass(frozen=True)
class MockRules:
    """What the mock refuses; the keys are explained in the YAML."""

    tool_speed: float
    tool_turn: float
    reach: float
    longest_row: float
    longest_queue: int


@dataclass(frozen=True)
class Table30:
    """The content of config/challenge/table30.yaml."""

    platform: PlatformData
    client: ClientSettings
    stations: dict[str, Station]
    mock: MockRules


@dataclass(frozen=True)
class ChallengeTask:
    """One task of Table30."""

    name: str
    robot: str  # in config/, and a station of the platform
    prompt: str
    specialist: str  # name of the public checkpoint for this task alone
    generalist: str  # name of the robot's generalist on this task
    half_speed: bool  # its authors sent twice as many rows on the same path

    @property
    def layout(self) -> str:
        """Name of the robot's layout in whose units the platform has its grippers."""
        return _load_catalogue().robots[self.robot].layout


@lru_cache
def load_table30() -> Table30:
    """The platform, its stations and the client's limits. Raises `ChallengeError`."""
    return load_yaml(Table30, find_resource("config", FILE_NAME), ChallengeError)


@lru_cache
def load_tasks() -> dict[str, ChallengeTask]:
    """The thirty tasks by name, from config/checkpoints.yaml. Raises `ChallengeError`."""
    stations = load_table30().stations
    tasks = {}
    table = _load_catalogue()
    for name, task in table.tasks.items():
        if task.robot not in stations:
            raise ChallengeError(f"{FILE_NAME}: no station for {task.robot}, which {name} needs")
        general = next(
            short for short, item in table.checkpoints.items()
            if item.generalist and item.robot == task.robot
        )  # fmt: skip
        specialist = table.specialist.format(task=name)
        generalist = f"{general}:{name}"
        tasks[name] = ChallengeTask(
            name, task.robot, task.prompt, specialist, generalist, task.half_speed
        )
    return tasks


def find_task(name: str) -> ChallengeTask:
    """The task of that name; `ChallengeError` with the likely ones."""
    tasks = load_tasks()
    if name in tasks:
        return tasks[name]
    close = difflib.get_close_matches(name, tasks, n=3, cutoff=0.4)
    raise ChallengeError(
        f"Table30 has no task '{name}'; "
        + (f"did you mean {', '.join(close)}? " if close else "")
        + "'dm0 eval table30' lists all of them"
    )


def load_station(task: ChallengeTask) -> tuple[RobotSpec, Station]:
    """The robot of a task as config/ has it, and as the platform has it."""
    return load_robot(task.robot), load_table30().stations[task.robot]


@lru_cache
def _load_catalogue() -> catalogue.Table:
    path = find_resource("config", catalogue.FILE_NAME)
    return load_yaml(catalogue.Table, path, CheckpointError)
