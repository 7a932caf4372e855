# SPDX-License-Identifier: Apache-2.0
"""Navigation heads: what models answer, as motions of a base.

DM0's navigation format is not published, so the format is a choice: sentences such as NaVILA's,
waypoints in the body frame, or velocities.
"""

import math
import re
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from dm0_ros.errors import Dm0Error, PlanError
from dm0_ros.navigation.pursuit import integrate
from dm0_ros.navigation.routes import Motion, Route, Velocities
from dm0_ros.robots.layouts import BASE_COLUMNS

_NOWHERE = Route(np.empty((0, 3)))


class Head(Protocol):
    """Turns one kind of answer into a motion."""

    def read(self, answer: Any) -> Motion:
        """The motion; raises `PlanError` where the answer has not the head's form."""


class Words:
    """Sentences: "move forward 75 cm", "turn left 30 degrees", "stop".

    The units are those of NaVILA (Cheng et al., 2024): distances of 25, 50 or 75 cm and turns of
    15, 30 or 45 degrees; other numbers become the nearest. What cannot be read means stop.
    """

    DISTANCES = (0.25, 0.50, 0.75)  # m
    TURNS = tuple(math.radians(angle) for angle in (15, 30, 45))
    _FORWARD = re.compile(r"\bforward\b\D*?(\d+(?:\.\d+)?)\s*(cm|centimet|m\b|met)", re.I)
    _TURN = re.compile(r"\bturn(?:ing)?\s+(left|right)\b\D*?(\d+(?:\.\d+)?)\s*deg", re.I)

    def read(self, answer: str) -> Route:
        """The motion of the first order in a sentence."""
        if not isinstance(answer, str):
            raise PlanError(f"the head for words takes a text, not {type(answer).__name__}")
        found = [m for m in (self._FORWARD.search(answer), self._TURN.search(answer)) if m]
        stop = re.search(r"\bstop\b", answer, re.I)
        first = min(found, key=lambda match: match.start(), default=None)
        if first is None or (stop and stop.start() < first.start()):
            return _NOWHERE
        if first.re is self._FORWARD:
            number, unit = first.groups()
            wanted = float(number) / (100 if unit.lower().startswith("c") else 1)
            return Route(np.array([[_nearest(wanted, self.DISTANCES), 0.0, 0.0]]))
        side, number = first.groups()
        turn = _nearest(math.radians(float(number)), self.TURNS)
        return Route(np.array([[0.0, 0.0, turn if side.lower() == "left" else -turn]]))


def _nearest(value: float, choices: tuple[float, ...]) -> float:
    return min(choices, key=lambda choice: abs(choice - value))


class Steps:
    """Words of a fixed set, several at once, as Uni-NaVid's: forward, left, right, stop.

    What follows a stop, or a word of another set, is not done.
    """

    def __init__(self, forward: float = 0.25, turn: float = math.radians(30)) -> None:
        """``forward`` in m, ``turn`` in rad: what one word moves the base by."""
        self._moves = {
            "forward": np.array([forward, 0.0, 0.0]),
            "left": np.array([0.0, 0.0, turn]),
            "right": np.array([0.0, 0.0, -turn]),
        }

    def read(self, answer: str) -> Route:
        """The route through the places after each word."""
        if not isinstance(answer, str):
            raise PlanError(f"the head for steps takes a text, not {type(answer).__name__}")
        pose, poses = np.zeros(3), []
        for word in re.findall(r"[a-z]+", answer.lower()):
            if word not in self._moves:
                break
            pose = integrate(pose, self._moves[word], 1.0)
            poses.append(pose)
        return Route(np.array(poses)) if poses else _NOWHERE


class Waypoints:
    """Rows (N, 3): x ahead and y to the left in m, yaw in rad, in the frame of the observation."""

    def read(self, answer: np.ndarray) -> Route:
        """The route; one whose every waypoint is where the base is means stop."""
        route = Route(
            np.asarray(answer, float).reshape(-1, 3) if np.size(answer) else np.empty((0, 3))
        )
        return _NOWHERE if not np.any(np.abs(route.poses) > 1e-9) else route


class VelocityRows:
    """Rows (H, C) of body-frame velocities: m/s ahead and to the left, rad/s to the left."""

    def __init__(self, step: float, columns: Sequence[str] = BASE_COLUMNS) -> None:
        """``step``: seconds between rows; ``columns`` of vx, vy, wz; those left out are zero.

        Raises `PlanError` for another column.
        """
        if unknown := [name for name in columns if name not in BASE_COLUMNS]:
            raise PlanError(
                f"a base has no velocity {', '.join(unknown)}; it has {', '.join(BASE_COLUMNS)}"
            )
        self._step = step
        self._places = [BASE_COLUMNS.index(name) for name in columns]

    def read(self, answer: np.ndarray) -> Velocities:
        """The velocities."""
        given = np.asarray(answer, float)
        if given.ndim != 2 or given.shape[1] != len(self._places):
            raise PlanError(
                f"velocities must have {len(self._places)} columns, not the shape {given.shape}"
            )
        rows = np.zeros((len(given), 3))
        rows[:, self._places] = given
        return Velocities(self._step, rows)


HEADS = ("words", "steps", "waypoints", "velocities")


def make_head(name: str, step: float = 0.25, columns: Sequence[str] = BASE_COLUMNS) -> Head:
    """The head of that name; ``step`` s and ``columns`` are for velocities.

    Raises `Dm0Error` for another name.
    """
    match name:
        case "words":
            return Words()
        case "steps":
            return Steps()
        case "waypoints":
            return Waypoints()
        case "velocities":
            return VelocityRows(step, columns)
    raise Dm0Error(f"there is no navigation head '{name}'; there are {', '.join(HEADS)}")
