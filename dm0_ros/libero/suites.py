# SPDX-License-Identifier: Apache-2.0
"""The suites: how many tasks and steps, and the tasks of our own. Read from config/libero/."""

from dataclasses import dataclass
from functools import lru_cache

from dm0_ros.libero.errors import LiberoError
from dm0_ros.resources import find_resource
from dm0_ros.robots import load_robot
from dm0_ros.robots.parsing import load_yaml
from dm0_ros.robots.spec import RobotSpec

OFFLINE = "offline"


@dataclass(frozen=True)
class Suite:
    """One suite; the keys are explained in the YAML."""

    tasks: int
    steps: int
    published: str | None = None


@dataclass(frozen=True)
class OfflineTask:
    """One task of our own suite."""

    instruction: str
    world: str
    task: str
    object: str


@dataclass(frozen=True)
class Offline:
    """Our own suite: its tasks, and from where places are told."""

    base: tuple[float, float, float]  # m, the arm's foot in the frame that places are told in
    hand: str  # link of the URDF
    grip: float  # m
    armature: tuple[float, ...]  # kg m2, of the arm's joints
    damping: tuple[float, ...]  # N m s/rad
    friction: tuple[float, ...]  # N m
    tasks: tuple[OfflineTask, ...]


@dataclass(frozen=True)
class Suites:
    """The content of config/libero/suites.yaml."""

    waiting_steps: int
    trials: int
    suites: dict[str, Suite]
    offline: Offline

    def __post_init__(self) -> None:
        own = self.suites.get(OFFLINE)
        if own is None:
            raise LiberoError(f"lacks the suite '{OFFLINE}'; add it", key=("suites",))
        if own.tasks != len(self.offline.tasks):
            raise LiberoError(
                f"is {own.tasks}, but {len(self.offline.tasks)} are listed; correct one of them",
                key=("suites", OFFLINE, "tasks"),
            )

    def find(self, name: str) -> Suite:
        """The suite of that name. Raises `LiberoError` that lists them."""
        if name not in self.suites:
            raise LiberoError(f"there is no suite '{name}'; there are {', '.join(self.suites)}")
        return self.suites[name]


@lru_cache
def load_suites() -> Suites:
    """The suites. Raises `LiberoError` that names the key that is wrong."""
    return load_yaml(Suites, find_resource("config", "libero/suites.yaml"), LiberoError)


@lru_cache
def load_libero_robot() -> RobotSpec:
    """LIBERO's Panda, config/libero/robot.yaml: what checkpoints for LIBERO are loaded for."""
    return load_robot(find_resource("config", "libero/robot.yaml"))
