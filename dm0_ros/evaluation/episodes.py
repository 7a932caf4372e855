# SPDX-License-Identifier: Apache-2.0
"""Which episode of a bag a plan belongs to, and when that ended: by its marks, else its plans."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dm0_ros.policy.marks import Mark
from dm0_ros.replay.plans import RecordedPlan
from dm0_ros.replay.schedule import GAP, begins_after
from dm0_ros.replay.walk import Step

_LATE = 0.5  # s that a step of an own schedule may come late
MARKS, PLANS = "marks", "plans"


@dataclass
class Episode:
    """One instruction, from its beginning to its end; s of the graph's clock."""

    name: str  # of its mark, or a number
    source: str  # of its bounds: MARKS or PLANS
    instruction: str
    begin: float
    end: float = math.inf  # where nothing is known to have ended it
    outcome: str = ""  # as marked; empty: nobody judged


class Episodes:
    """Is shown recorded plans as they come, then steps in their order.

    Rows that are due after the end of an episode are compared with nothing: the arm was on its way
    to something else. An end is known once it has passed.
    """

    def __init__(self, marks: Sequence[Mark], period: float | None = None) -> None:
        """``period`` of the replay's own schedule; None: it follows the recorded plans."""
        self._marks = _find_ends(marks)
        self._period = period or 0.0
        self._marked: dict[str, int] = {}
        self._coming: dict[tuple[float, int], int] = {}  # by reception and sequence
        self._last: RecordedPlan | None = None
        self._running: int | None = None  # of those by plans
        self._step: Step | None = None  # the last one of an own schedule
        self.found: list[Episode] = []

    def hear(self, recorded: RecordedPlan) -> None:
        """A recorded plan is coming. One of a single row ends what ran: the arm was to stay."""
        if not recorded.inferred:
            self._end(recorded.published)
            self._last = recorded
            return
        last, self._last = self._last, recorded
        marked = self._place_by_mark(recorded.moment, recorded.instruction)
        if marked is not None:
            self._end(self.found[marked].begin)
        elif self._running is None or begins_after(last, recorded):
            self._end(recorded.moment)
            self._running = self._begin(recorded.instruction, recorded.moment)
        number = self._running if marked is None else marked
        self._coming[recorded.received, recorded.sequence] = number

    def place(self, step: Step) -> int:
        """Number in ``found`` of the episode of a step."""
        if step.recorded is not None:
            return self._coming.pop((step.recorded.received, step.recorded.sequence))
        marked = self._place_by_mark(step.moment, step.observation.instruction)
        return self._place_own(step) if marked is None else marked

    def end(self, number: int, now: float) -> float:
        """When an episode ended, as far as that is known at a moment; else infinite."""
        step, episode = self._step, self.found[number]
        own = number == self._running and step is not None and episode.end == math.inf
        if own and now - step.moment > 2 * self._period + _LATE:
            return step.moment + self._period  # its next step would have come by now
        return episode.end

    def at(self, moment: float) -> int | None:
        """Number of the episode that ran at a moment of late; None where none did."""
        for number in range(len(self.found) - 1, -1, -1):
            episode = self.found[number]
            if episode.begin <= moment:
                return number if moment <= episode.end else None
        return None

    def _place_by_mark(self, moment: float, instruction: str) -> int | None:
        """The last episode that is marked as running at a moment."""
        running = [mark for mark in self._marks if mark.begin <= moment <= mark.end]
        if not running:
            return None
        mark = running[-1]
        if mark.episode not in self._marked:
            self._marked[mark.episode] = len(self.found)
            said = instruction or mark.instruction
            self.found.append(
                Episode(mark.episode, MARKS, said, mark.begin, mark.end, mark.outcome)
            )
        return self._marked[mark.episode]

    def _place_own(self, step: Step) -> int:
        """Of a step of the replay's own schedule."""
        last, self._step = self._step, step
        said = None if last is None else last.observation.instruction
        gap = math.inf if last is None else step.moment - last.moment
        longest = max(GAP, 2 * self._period)
        if step.observation.instruction != said or not 0 <= gap <= longest:
            self._end(math.inf if last is None else last.moment + self._period)
            self._running = self._begin(step.observation.instruction, step.moment)
        return self._running

    def _begin(self, instruction: str, moment: float) -> int:
        self.found.append(Episode(f"task {len(self.found) + 1}", PLANS, instruction, moment))
        return len(self.found) - 1

    def _end(self, moment: float) -> None:
        if self._running is not None:
            episode = self.found[self._running]
            episode.end = min(episode.end, moment)
            self._running = None


def _find_ends(marks: Sequence[Mark]) -> list[Mark]:
    """In order, each with an end: one that was never ended lasts until the next one begins."""
    marks, next_begin, found = sorted(marks, key=lambda mark: mark.begin), math.inf, []
    for mark in reversed(marks):
        found.append(mark if mark.end is not None else replace(mark, end=next_begin))
        next_begin = mark.begin
    return found[::-1]
