# SPDX-License-Identifier: Apache-2.0
"""The ObjectNav task with Habitat's rules: find an object of a category, and call stop there.

Numbers are those of habitat-lab's ``benchmark/nav/objectnav`` for HM3D and MP3D.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from dm0_ros.navigation.free_space import FreeSpace
from dm0_ros.navigation.geodesic import Corners, Geodesic
from dm0_ros.navigation.house import House, HouseError
from dm0_ros.navigation.metrics import Result
from dm0_ros.navigation.pursuit import wrap
from dm0_ros.navigation.view_points import find_view_points


class Action(IntEnum):
    """What the agent can do; values are Habitat's."""

    STOP = 0
    MOVE_FORWARD = 1
    TURN_LEFT = 2
    TURN_RIGHT = 3
    LOOK_UP = 4
    LOOK_DOWN = 5


@dataclass(frozen=True)
class Rules:
    """The numbers of the task."""

    forward: float = 0.25  # m
    turn: float = math.radians(30)
    tilt: float = math.radians(30)
    steps: int = 500
    success_distance: float = 0.1  # m, geodesic, to a view point
    view_distance: float = 1.0  # m between a view point and its object
    radius: float = 0.18  # m
    eye_height: float = 0.88  # m
    width: int = 640  # pixels
    height: int = 480
    field_of_view: float = math.radians(79)  # horizontal
    depth: tuple[float, float] = (0.5, 5.0)  # m that become 0 and 1

    @property
    def vertical_field_of_view(self) -> float:
        """rad, of square pixels."""
        return 2 * math.atan(math.tan(self.field_of_view / 2) * self.height / self.width)


@dataclass(frozen=True)
class Episode:
    """One start and one thing to find."""

    category: str
    start: tuple[float, float, float]  # x, y, yaw


@dataclass(frozen=True)
class Percept:
    """What the agent gets to know at one step."""

    colour: np.ndarray  # (height, width, 3) uint8 RGB
    depth: np.ndarray  # (height, width, 1) float32 in [0, 1]
    gps: np.ndarray  # (2,) m from the start: ahead and to the right, as the agent faced then
    compass: float  # rad turned to the left since the start, in [-pi, pi)
    category: str


# Looks from (position (3,), yaw, tilt): colour (height, width, 3) uint8, depth (height, width) m.
Look = Callable[[np.ndarray, float, float], tuple[np.ndarray, np.ndarray]]


class ObjectNav:
    """One house with Habitat's ObjectNav rules. ``look`` may be left out where no one looks."""

    def __init__(self, house: House, rules: Rules | None = None, look: Look | None = None) -> None:
        self.house, self.rules, self._look = house, rules or Rules(), look
        self.space = FreeSpace(house, self.rules.radius)
        corners = Corners(self.space)
        self.geodesics = {
            category: Geodesic(
                corners,
                find_view_points(
                    self.space, category, self.rules.view_distance, self.rules.eye_height
                ),
            )
            for category in house.categories
        }

    def sample(self, random: np.random.Generator, category: str, least: float) -> Episode:
        """A random episode that starts ``least`` m or more from the goal.

        Raises `HouseError` where the house is too small for that.
        """
        for _ in range(1000):
            (place,) = self.space.sample(random, 1)
            if least <= self.geodesics[category].distance(place)[0] < math.inf:
                return Episode(category, (*map(float, place), random.uniform(-math.pi, math.pi)))
        raise HouseError(
            f"{self.house.name}: found no start {least:g} m away from a {category}; ask for less"
        )

    def begin(self, episode: Episode) -> None:
        """Put the agent at the start."""
        if not self.space.is_free(episode.start[:2])[0]:
            raise HouseError(f"{self.house.name}: the agent does not fit at {episode.start[:2]}")
        self.episode = episode
        self.pose = np.array(episode.start)
        self.tilt = 0.0
        self.taken, self.travelled = 0, 0.0
        self.stopped = self.collided = False
        self._start_distance = self.distance()

    @property
    def over(self) -> bool:
        """Whether stop was called or the steps have run out."""
        return self.stopped or self.taken >= self.rules.steps

    def distance(self) -> float:
        """Geodesic distance to the nearest view point, m."""
        return float(self.geodesics[self.episode.category].distance(self.pose[:2])[0])

    def step(self, action: Action) -> None:
        """Do one action. A drive that meets an obstacle ends there: nothing slides along it."""
        rules = self.rules
        self.taken += 1
        self.collided = False
        match action:
            case Action.STOP:
                self.stopped = True
            case Action.MOVE_FORWARD:
                heading = np.array([math.cos(self.pose[2]), math.sin(self.pose[2])])
                wanted = self.pose[:2] + rules.forward * heading
                reached = self.space.drive(self.pose[:2], wanted)
                self.collided = bool(np.linalg.norm(reached - wanted) > 1e-6)
                self.travelled += float(np.linalg.norm(reached - self.pose[:2]))
                self.pose[:2] = reached
            case Action.TURN_LEFT:
                self.pose[2] = wrap(self.pose[2] + rules.turn)
            case Action.TURN_RIGHT:
                self.pose[2] = wrap(self.pose[2] - rules.turn)
            case Action.LOOK_UP:
                self.tilt = min(self.tilt + rules.tilt, math.pi / 2)
            case Action.LOOK_DOWN:
                self.tilt = max(self.tilt - rules.tilt, -math.pi / 2)

    def observe(self) -> Percept:
        """What the agent sees now; needs ``look``."""
        rules, start = self.rules, self.episode.start
        position = np.array([*self.pose[:2], rules.eye_height])
        colour, depth = self._look(position, float(self.pose[2]), self.tilt)
        near, far = rules.depth
        ahead, left = _turn(self.pose[:2] - start[:2], -start[2])
        return Percept(
            colour=colour,
            depth=((np.clip(depth, near, far) - near) / (far - near))[..., None],
            gps=np.array([ahead, -left]),
            compass=float(wrap(self.pose[2] - start[2])),
            category=self.episode.category,
        )

    def result(self) -> Result:
        """How the episode stands."""
        return Result(
            category=self.episode.category,
            stopped=self.stopped,
            start_distance=self._start_distance,
            distance=self.distance(),
            travelled=self.travelled,
            steps=self.taken,
            success_distance=self.rules.success_distance,
        )


def _turn(vector: np.ndarray, angle: float) -> np.ndarray:
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([cosine * vector[0] - sine * vector[1], sine * vector[0] + cosine * vector[1]])


def choose_episodes(task: ObjectNav, count: int, seed: int, least: float = 1.0) -> list[Episode]:
    """``count`` episodes, categories in turn; the same seed gives the same ones.

    They start ``least`` m or more from the nearest view point.
    """
    categories = task.house.categories
    return [
        task.sample(
            np.random.default_rng([seed, number]), categories[number % len(categories)], least
        )
        for number in range(count)
    ]
