# SPDX-License-Identifier: Apache-2.0
"""Episodes: what was asked, what happened, and how often it was right. Kept beside the bag."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from dm0_ros.errors import Dm0Error


@dataclass(frozen=True)
class Episode:
    """One instruction from the goal to its end. Stamps are seconds since 1970."""

    instruction: str
    object: str  # that the instruction names
    outcome: str  # touched, placed, wrong_object, time_limit, or what stopped it
    first_touched: str | None  # or the first in the bin, where that is the task
    seconds: float  # from the goal to that, else to the end
    plans: int
    started: float  # stamp of the goal
    ended: float
    touched: float | None  # stamp of that
    message: str  # what the action server said

    @property
    def success(self) -> bool:
        """Whether that was the object that was named."""
        return self.first_touched == self.object

    @property
    def wording(self) -> str:
        """The instruction with a blank for the object."""
        return self.instruction.replace(self.object, "...")


@dataclass(frozen=True)
class Rate:
    """Successes among episodes."""

    successes: int
    episodes: int


def count_successes(
    episodes: Iterable[Episode], group: Callable[[Episode], str]
) -> dict[str, Rate]:
    """Success per group, ordered by the group's name."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for episode in episodes:
        groups[group(episode)].append(episode.success)
    return {name: Rate(sum(won), len(won)) for name, won in sorted(groups.items())}


def save_episodes(path: Path, episodes: Iterable[Episode]) -> None:
    """Write episodes as JSON."""
    path.write_text(json.dumps([asdict(episode) for episode in episodes], indent=2) + "\n")


def load_episodes(path: Path) -> list[Episode]:
    """Episodes that `save_episodes` wrote. Raises `Dm0Error` that names file and fault."""
    names = {field.name for field in fields(Episode)}
    try:
        records = json.loads(path.read_text())
    except OSError as error:
        raise Dm0Error(f"{path}: {error.strerror}; run `dm0 demo` to make one") from error
    except json.JSONDecodeError as error:
        raise Dm0Error(f"{path}: not JSON: {error}") from error
    for number, record in enumerate(records):
        if set(record) != names:
            wrong = ", ".join(sorted(set(record) ^ names))
            raise Dm0Error(f"{path}: episode {number}: missing or unknown: {wrong}")
    return [Episode(**record) for record in records]
