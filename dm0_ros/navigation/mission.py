# SPDX-License-Identifier: Apache-2.0
"""One instruction to a base, from the first look to its outcome: look, think, drive, again."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dm0_ros.navigation.controller import Fix, State
from dm0_ros.navigation.routes import Motion, Route, Velocities, ends_here
from dm0_ros.policy.errand import Errand
from dm0_ros.policy.verdict import Outcome, Verdict

_ELSEWHERE = 0.3  # m from a failure: what follows has nothing to do with it
_TURN = 0.8  # rad to look away from what is in the way; then twice as far to the other side
_TURN_TIME = 2.0  # s that this takes
_SOON = 1.5  # s of a plan of velocities that say whether it begins with a turn on the spot
_SOME_WAY = 0.1  # m: a plan that drives further in that time does not


@dataclass(frozen=True)
class Sight:
    """One moment: a picture, and where the base was by its odometry."""

    picture: np.ndarray | None  # (height, width, 3) uint8 RGB; None where nobody looks at it
    fix: Fix


class Output(Protocol):
    """What executes motions: the base's controller, or a planner's goals."""

    def drive(self, motion: Motion, origin: Fix) -> None:
        """Begin a motion, given in the frame of the base at ``origin``; it replaces the last."""

    def stop(self, reason: str) -> None:
        """Come to rest."""

    def status(self) -> tuple[State, str]:
        """What the base does, and why."""


@dataclass(frozen=True)
class MissionSettings:
    """When to think and when to give up. Seconds."""

    period: float  # least time between two thoughts
    time_limit: float
    observation_timeout: float  # how long there may be nothing to think about
    votes: int  # thoughts in a row that have to say stop
    attempts: int  # motions in a row that may fail before their end, as when blocked
    stop_distance: float = 0.25  # m: velocities that drive less in all their seconds,
    stop_turn: float = math.pi  # and turn by less, mean stop


class Mission(Errand):
    """What a base does about an instruction.

    ``look`` gives the newest sight and raises `ObservationError` where there is none; ``think``
    makes a motion of sight and instruction, or None where there is no answer yet.
    """

    def __init__(
        self,
        instruction: str,
        look: Callable[[], Sight],
        think: Callable[[Sight, str], Motion | None],
        output: Output,
        settings: MissionSettings,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(instruction, settings, monotonic)
        self._look, self._ask_policy, self._output = look, think, output
        self._settings = settings
        self._seen: float | None = None  # stamp of the last sight
        self._votes = self._failures = 0
        self._failed_at: np.ndarray | None = None  # place (2,) of the last failure
        self._turns_back = False  # whether a failure is still to be answered by a turn
        self._driving = False
        self._side = 0.0  # of the turn on the spot that is under way: 1 left, -1 right, 0 none

    def run(self) -> Verdict:
        """See `Errand`. The base is told to stop at the end."""
        verdict = super().run()
        self._output.stop(verdict.message)
        return verdict

    def _describe_delay(self) -> str:
        return f"not there within {self._settings.time_limit:g} s"

    def _watch(self) -> str:
        """Counts motions that ended early; a few are thought over, then it is a fault."""
        state, reason = self._output.status()
        if not self._driving or state is not State.STOPPED:
            return ""
        self._driving = False
        self._failures += 1
        self._failed_at, self._turns_back = None, True
        if self._failures < self._settings.attempts:
            return ""
        return f"{self._failures} motions in a row failed: {reason}"

    def _think(self) -> Verdict | None:
        settings = self._settings
        sight = self._look()
        if sight.fix.stamp == self._seen:
            return self._note_blindness("no new picture or odometry comes")
        self._note_place(sight.fix.pose[:2])
        if self._turns_back:
            return self._turn_away(sight)
        motion = self._ask_policy(sight, self.instruction)
        if self._end:
            return self._end
        self._note_sight()
        if motion is None:
            return None
        self._seen, self._thought = sight.fix.stamp, self._monotonic()
        self.plans += 1
        if leads_nowhere(motion, settings.stop_distance, settings.stop_turn):
            self._votes += 1
            self._output.stop("the plan says: here")
            self._driving = False
            if self._votes >= settings.votes:
                return Verdict(Outcome.SUCCEEDED, "the plan says: here")
            return None
        self._votes = 0
        if isinstance(motion, Velocities):
            motion = self._keep_turning(motion)
        self._output.drive(motion, sight.fix)
        self._driving = True
        return None

    def _keep_turning(self, motion: Velocities) -> Velocities:
        """The motion, but no turn back from a turn on the spot.

        To a policy without memory both sides can seem best in turn; it would never get round.
        """
        soon = motion.rows[: max(1, round(_SOON / motion.step))]
        if np.hypot(*soon[:, :2].sum(0)) * motion.step > _SOME_WAY:
            self._side = 0.0
            return motion
        side = float(np.sign(soon[:, 2].sum()))
        if self._side and side != self._side:
            rows = motion.rows.copy()
            rows[: len(soon)] = [0.0, 0.0, self._side * np.abs(soon[:, 2]).max()]
            rows[len(soon) :] = 0.0
            return Velocities(motion.step, rows)
        self._side = side
        return motion

    def _note_place(self, place: np.ndarray) -> None:
        """Failures are in a row while the base stays about where the first one was."""
        if self._failures and self._failed_at is None:
            self._failed_at = place
        elif self._failures and np.linalg.norm(place - self._failed_at) > _ELSEWHERE:
            self._failures = 0

    def _turn_away(self, sight: Sight) -> None:
        """Look elsewhere before the next thought: what stopped the base would do so again."""
        self._turns_back = False
        turn = _TURN if self._failures % 2 else -2 * _TURN
        self._output.drive(Route(np.array([[0.0, 0.0, turn]])), sight.fix)
        self._thought = self._monotonic() + _TURN_TIME - self._settings.period


def leads_nowhere(motion: Motion, distance: float = 0.25, turn: float = math.pi) -> bool:
    """Whether a motion means stop: no route, or velocities that lead nowhere; see `ends_here`."""
    if isinstance(motion, Route):
        return motion.stays
    return ends_here(motion.route(), distance, turn)
