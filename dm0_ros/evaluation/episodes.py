# SPDX-License-Identifier: Apache-2.0
"""Which episode of a bag a plan belongs to, and when that ended: by its marks, else its plans."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dm0_ros.policy.marks import Mark
from dm0_ros.replay.plans import RecordedPlan
from dm0_ros.replay.schedule import begins_after
from dm0_ros.replay.walk import Step

_GAP = 5.0  # s without a plan after which another episode has begun
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
        self._marks = sorted(marks, key=lambda mark: mark.begin)
        self._period = period or 0.0
        self._marked: dict[str, int] = {}
        self._coming: dict[tuple[float, int], int] = {}  # by reception and sequence
        self._last: RecordedPlan | None = None
        self._running: int | None = None  # of those by plans
        self._step: Step | None = None
        self._said = ""  # the last step's instruction
        self.found: list[Episode] = []

    def hear(self, recorded: RecordedPlan) -> None:
        """A recorded plan is coming. One of a single row ends what ran: the arm was to stay."""
        if not recorded.inferred:
            self._end(recorded.published)
            self._last = recorded
            return
        last, self._last = self._last, recorded
        if self._running is None or begins_after(last, recorded):
            self._end(recorded.moment)
            self._running = self._begin(recorded.instruction, recorded.moment)
        self._coming[recorded.received, recorded.sequence] = self._running

    def place(self, step: Step) -> int:
        """Number in ``found`` of the episode of a step with a plan or a fault."""
        by_plans = self._place_by_plans(step)
        for mark in reversed(self._marks):
            if mark.begin <= step.moment <= (math.inf if mark.end is None else mark.end):
                return self._place_by_mark(mark, _instruction(step) or mark.instruction)
        return by_plans

    def end(self, number: int) -> float:
        """When an episode ended, as far as that is known by now; else infinite."""
        return self.found[number].end

    def _place_by_mark(self, mark: Mark, instruction: str) -> int:
        if mark.episode not in self._marked:
            self._marked[mark.episode] = len(self.found)
            end = self._find_end(mark)
            self.found.append(
                Episode(mark.episode, MARKS, instruction, mark.begin, end, mark.outcome)
            )
        return self._marked[mark.episode]

    def _find_end(self, mark: Mark) -> float:
        """An episode without an end lasts until the next one begins."""
        later = [other.begin for other in self._marks if other.begin > mark.begin]
        return mark.end if mark.end is not None else min(later, default=math.inf)

    def _place_by_plans(self, step: Step) -> int:
        if step.recorded is not None:
            return self._coming.pop((step.recorded.received, step.recorded.sequence))
        last, self._step = self._step, step
        instruction, said = _instruction(step), self._said
        self._said = instruction
        gap = math.inf if last is None else step.moment - last.moment
        if instruction != said or not 0 <= gap <= max(_GAP, 2 * self._period):
            self._end(step.moment if last is None else last.moment + self._period)
            self._running = self._begin(instruction, step.moment)
        return self._running

    def _begin(self, instruction: str, moment: float) -> int:
        self.found.append(Episode(f"task {len(self.found) + 1}", PLANS, instruction, moment))
        return len(self.found) - 1

    def _end(self, moment: float) -> None:
        if self._running is not None:
            episode = self.found[self._running]
            episode.end = min(episode.end, moment)
            self._running = None


def _instruction(step: Step) -> str:
    if step.recorded is not None:
        return step.recorded.instruction
    return step.observation.instruction if step.observation is not None else ""
