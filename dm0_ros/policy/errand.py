# SPDX-License-Identifier: Apache-2.0
"""One instruction from its beginning to its verdict, whatever carries it out: an arm or a base."""

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from dm0_ros.errors import Dm0Error, InstructionError, ObservationError
from dm0_ros.policy.verdict import Outcome, Verdict

_POLL = 0.005  # s between looks whether there is something to do


class Limits(Protocol):
    """Seconds."""

    period: float  # least time between two thoughts
    time_limit: float
    observation_timeout: float  # how long observations may be unusable


class Errand(ABC):
    """Thinks again and again in the caller's thread, until it is done, or cannot be.

    Any thread may end it and read its counters. Subclasses say what a thought is, and what else
    ends an errand.
    """

    def __init__(self, instruction: str, limits: Limits, monotonic: Callable[[], float]) -> None:
        self._limits, self._monotonic = limits, monotonic
        self._end: Verdict | None = None
        self._ended = threading.Event()
        self._begun = monotonic()
        self._thought = -math.inf  # when the last thought began
        self._blind_since: float | None = None
        self.instruction = instruction
        self.plans = 0
        self.complaint = ""  # why the newest observation cannot be used

    @property
    def elapsed(self) -> float:
        """Seconds since the errand began."""
        return self._monotonic() - self._begun

    def end(self, outcome: Outcome, message: str) -> None:
        """Ask the errand to end, from any thread; nothing is thought of afterwards."""
        if self._end is None:
            self._end = Verdict(outcome, message)
        self._ended.set()

    def run(self) -> Verdict:
        """Take step after step until there is a verdict."""
        while (verdict := self.step()) is None:
            self._ended.wait(_POLL)
        return verdict

    def step(self) -> Verdict | None:
        """Think once if there is something new to think about; returns the end if it has come."""
        if verdict := self._find_end():
            return verdict
        if self._monotonic() - self._thought < self._limits.period:
            return None
        try:
            return self._think()
        except ObservationError as error:
            return self._note_blindness(str(error))
        except InstructionError as error:
            return Verdict(Outcome.REJECTED, str(error))
        except Dm0Error as error:
            return Verdict(Outcome.FAULT, str(error))

    def _find_end(self) -> Verdict | None:
        """The end, where it has come from outside: from a person, the clock or the robot."""
        if self._end:
            return self._end
        if self.elapsed >= self._limits.time_limit:
            return Verdict(Outcome.TIME_LIMIT, self._describe_delay())
        if fault := self._watch():
            return Verdict(Outcome.FAULT, fault)
        return None

    @abstractmethod
    def _think(self) -> Verdict | None:
        """One thought, and what follows from it; raises `Dm0Error` where there can be none."""

    @abstractmethod
    def _watch(self) -> str:
        """Why the robot cannot go on, or ''; asked in every step."""

    @abstractmethod
    def _describe_delay(self) -> str:
        """What is to be said when the time is up."""

    def _note_sight(self) -> None:
        """An observation could be used."""
        self._blind_since, self.complaint = None, ""

    def _note_blindness(self, complaint: str) -> Verdict | None:
        """An observation could not; the end where that has lasted too long."""
        now = self._monotonic()
        self.complaint = complaint
        if self._blind_since is None:
            self._blind_since = now
        if now - self._blind_since < self._limits.observation_timeout:
            return None
        return Verdict(Outcome.FAULT, complaint)
