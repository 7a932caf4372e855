# SPDX-License-Identifier: Apache-2.0
"""Scores that others have published, and files with scores of one's own."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dm0_ros.challenge.errors import ChallengeError
from dm0_ros.challenge.table import find_task
from dm0_ros.resources import find_resource
from dm0_ros.robots.parsing import load_yaml

FILE_NAME = "challenge/published_results.yaml"

Pair = tuple[float, float]  # success rate in %, and a score; of ObjectNav the SPL in %


@dataclass(frozen=True)
class TaskScores:
    """What was published for one task of Table30."""

    specialist: Pair  # DM0, trained for this task
    generalist: Pair  # DM0, trained for all tasks of the robot
    pi0: Pair
    pi05: Pair


@dataclass(frozen=True)
class Overall:
    """What was published for one method over the whole of Table30."""

    parameters: float  # billions
    specialist: float | None = None  # success rate in %
    generalist: Pair | None = None


@dataclass(frozen=True)
class Published:
    """The content of config/challenge/published_results.yaml."""

    sources: dict[str, str]
    swapped: tuple[str, ...]  # tasks whose rows some versions of the source have exchanged
    table30: dict[str, TaskScores]
    average: TaskScores
    overall: dict[str, Overall]
    libero: dict[str, float]  # success rates in % by suite
    objectnav: dict[str, dict[str, Pair]]  # by method and data set


@dataclass(frozen=True)
class OwnScores:
    """A file with scores of one's own, in the form of the published ones."""

    table30: dict[str, Pair]

    def __post_init__(self) -> None:
        for name, pair in self.table30.items():
            find_task(name)
            if not all(0 <= value <= 100 for value in pair):
                raise ChallengeError(
                    f"is {pair}; write [success rate in %, score], both from 0 to 100",
                    key=("table30", name),
                )


@lru_cache
def load_published() -> Published:
    """The published scores. Raises `ChallengeError` that names the key that is wrong."""
    return load_yaml(Published, find_resource("config", FILE_NAME), ChallengeError)


def load_own(path: Path) -> dict[str, Pair]:
    """Scores of one's own by task: a YAML file with ``table30: {TASK: [rate, score]}``."""
    if not path.is_file():
        raise ChallengeError(
            f"there is no file {path}; write one such as 'table30: {{stack_bowls: [90, 95.5]}}'"
        )
    return load_yaml(OwnScores, path, ChallengeError).table30
