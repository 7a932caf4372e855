# SPDX-License-Identifier: Apache-2.0
"""Navigation heads: what models answer, as motions of a base.

DM0's navigation format is not published, so the format is a choice: sentences such as NaVILA's,
waypoints in the body frame, or velocities.
"""

import math
import re
from typing import Any, Protocol

import numpy as np

from dm0_ros.errors import Dm0Error, PlanError
from dm0_ros.navigation.pursuit import integrate
from dm0_ros.navigation.routes import Motion, Route, Velocities

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
    """Rows (H, 2 or 3): m/s ahead, m/s to the left where there are three, rad/s."""

    def __init__(self, step: float) -> None:
        """``step``: seconds between rows."""
        self._step = step

    def read(self, answer: np.ndarray) -> Velocities:
        """The velocities."""
        rows = np.asarray(answer, float)
        if rows.ndim == 2 and rows.shape[1] == 2:
            rows = np.insert(rows, 1, 0.0, axis=1)
        return Velocities(self._step, rows)


HEADS = ("words", "steps", "waypoints", "velocities")


def make_head(name: str, step: float = 0.25) -> Head:
    """The head of that name; ``step`` s is for velocities. Raises `Dm0Error` for another."""
    match name:
        case "words":
            return Words()
        case "steps":
            return Steps()
        case "waypoints":
            return Waypoints()
        case "velocities":
            return VelocityRows(step)
    raise Dm0Error(f"there is no navigation head '{name}'; there are {', '.join(HEADS)}")
