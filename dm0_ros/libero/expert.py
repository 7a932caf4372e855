# SPDX-License-Identifier: Apache-2.0
"""A scripted expert for our own suite: it knows where things are, and acts as policies do.

What it does shows that the tasks can be done through LIBERO's actions, and how fast.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from dm0_ros.libero.contract import CLOSE, OPEN, ROTATION, TRANSLATION, rotation_matrix
from dm0_ros.libero.environment import Environment
from dm0_ros.libero.errors import LiberoError
from dm0_ros.libero.offline import OfflineEnvironment, Truth
from dm0_ros.policy.protocol import Observation
from dm0_ros.sim.world import TaskKind

_ABOVE = 0.10  # m over a block while still beside it
_CARRY = 0.17  # m over the table, on the way to the bin
_DROP = 0.07  # m over the bin's floor where the fingers open
_PRESS = 0.02  # m into a block's top that the goal lies, so that it is touched
_NEAR = 0.006  # m
_ALIGNED = 0.06  # rad
_PATIENCE = 12  # steps in which fingers close or open
_SPEED = 0.8  # of an input: the hand overshoots less than at full speed
_LOST = 0.05  # m between the fingers and a block that they do not hold
_UP = np.array([0.0, 0.0, 1.0])
_DOWN = np.diag([1.0, -1.0, -1.0])  # the hand's axes when it points down, at no turn


class Phase(Enum):
    """What is being done."""

    ABOVE = "above"
    LOWER = "lower"
    GRASP = "grasp"
    LIFT = "lift"
    CARRY = "carry"
    DROP = "drop"
    RELEASE = "release"
    LEAVE = "leave"


@dataclass(frozen=True, eq=False)
class _Hand:
    """Where the hand is, as the state says it."""

    place: np.ndarray  # (3,) m
    axes: np.ndarray  # (3, 3)

    @classmethod
    def of(cls, state: np.ndarray) -> "_Hand":
        """From a state (8,)."""
        return cls(state[:3], rotation_matrix(state[3:6]))


class Expert:
    """An `Agent` for `OfflineEnvironment` alone."""

    def begin(self, environment: Environment, _task: int, _episode: int) -> None:
        """See `Agent`. Raises `LiberoError` where nobody knows where things are."""
        if not isinstance(environment, OfflineEnvironment):
            raise LiberoError("the expert knows the suite 'offline' alone; leave 'expert' out")
        self._environment = environment
        self._enter(Phase.ABOVE, np.zeros(3))

    def act(self, observation: Observation) -> np.ndarray:
        """See `Agent`: one action."""
        truth, hand = self._environment.truth(), _Hand.of(observation.state)
        touches = truth.kind is TaskKind.TOUCH
        turn = _turn_of(hand) if touches else _nearest_turn(truth.turn, _turn_of(hand))
        following = self._next(truth, hand, turn, touches)
        if following is not self._phase:
            self._enter(following, hand.place)
        self._count += 1
        action = np.zeros(7)
        action[:3] = _limit((self._goal(truth, touches) - hand.place) / TRANSLATION)
        wanted = rotation_matrix(np.array([0.0, 0.0, turn])) @ _DOWN
        action[3:6] = _limit(_turn_between(hand.axes, wanted) / ROTATION)
        closed = touches or self._phase in (Phase.GRASP, Phase.LIFT, Phase.CARRY, Phase.DROP)
        action[6] = CLOSE if closed else OPEN
        return action[None]

    def _enter(self, phase: Phase, place: np.ndarray) -> None:
        self._phase, self._count, self._entered = phase, 0, place

    def _next(self, truth: Truth, hand: _Hand, turn: float, touches: bool) -> Phase:
        """The phase to be in now: this one until it has come to its end."""
        phase = self._phase
        if phase is (Phase.LOWER if touches else Phase.LEAVE):
            return phase  # the last one
        away = self._goal(truth, touches) - hand.place
        if phase is Phase.ABOVE:
            beside = np.linalg.norm(away[:2]) < _NEAR and abs(away[2]) < 4 * _NEAR
            over = beside and abs(_turn_of(hand) - turn) < _ALIGNED
        elif phase in (Phase.GRASP, Phase.RELEASE):
            over = self._count >= _PATIENCE
        else:
            over = np.linalg.norm(away) < _NEAR
        lost = np.linalg.norm(truth.object - hand.place) > _LOST
        if lost and phase in (Phase.LIFT, Phase.CARRY):
            return Phase.ABOVE
        phases = list(Phase)
        return phases[phases.index(phase) + 1] if over else phase

    def _goal(self, truth: Truth, touches: bool) -> np.ndarray:
        """Where the point between the fingers is wanted (3,) m."""
        block, phase = truth.object, self._phase
        if phase is Phase.ABOVE:
            return block + _ABOVE * _UP
        if phase in (Phase.LOWER, Phase.GRASP):
            return block + (truth.size / 2 - _PRESS if touches else 0.0) * _UP
        if phase is Phase.LIFT:
            return np.array([*self._entered[:2], truth.bin[2] + _CARRY])
        height = _DROP if phase in (Phase.DROP, Phase.RELEASE) else _CARRY
        return truth.bin + height * _UP


def _turn_of(hand: _Hand) -> float:
    """How far the hand is turned about the vertical, rad."""
    return float(np.arctan2(hand.axes[1, 0], hand.axes[0, 0]))


def _nearest_turn(turn: float, present: float) -> float:
    """Of a cube's four equal turns the one that needs the least motion, rad."""
    quarter = np.pi / 2
    return present + (turn - present + quarter / 2) % quarter - quarter / 2


def _turn_between(axes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """About which axis and how far to turn (3,) rad; for less than half a turn."""
    turn = wanted @ axes.T
    skew = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    sine = np.linalg.norm(skew) / 2
    angle = np.arctan2(sine, (np.trace(turn) - 1) / 2)
    return skew / 2 * (angle / sine if sine > 1e-9 else 1.0)


def _limit(inputs: np.ndarray) -> np.ndarray:
    """The same direction, and no input beyond what the expert uses."""
    return inputs * min(1.0, _SPEED / max(np.abs(inputs).max(), 1e-9))
