# SPDX-License-Identifier: Apache-2.0
"""Which task a moment of a recording belongs to, as its plans tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from dm0_ros.policy.marks import Mark
from dm0_ros.replay.plans import RecordedPlan

GAP = 5.0
"""s without a plan after which, in a bag without traces, a new task has begun."""


def begins_after(before: RecordedPlan, after: RecordedPlan) -> bool:
    """Whether the policy was reset between two plans, of which the bag has none between them.

    Also where it lacks the first plan of a task: indices rise as long as a task lasts.
    """
    if after.trace is not None and before.trace is not None:
        return after.trace.index <= before.trace.index
    return before.instruction != after.instruction or after.received - before.received > GAP


def split_tasks(
    plans: Iterable[RecordedPlan],
) -> Iterator[tuple[RecordedPlan, RecordedPlan]]:
    """Of every task its first plan, which a network made, and the last plan before the next."""
    first = last = None
    for plan in plans:
        if first is not None and plan.inferred and begins_after(last, plan):
            yield first, last
            first = None
        first = first or (plan if plan.inferred else None)
        last = plan
    if first is not None:
        yield first, last


def mark_at(marks: Sequence[Mark], moment: float) -> tuple[int, str] | None:
    """Number and instruction of the marked episode that runs at a moment; None where none does."""
    for number in range(len(marks) - 1, -1, -1):
        if marks[number].begin <= moment:
            end = marks[number].end
            return (number, marks[number].instruction) if end is None or moment <= end else None
    return None


class Ahead:
    """Recorded plans, of which the next one can be looked at."""

    def __init__(self, plans: Iterator[RecordedPlan]) -> None:
        self._plans = plans
        self._next = next(plans, None)
        self._before: RecordedPlan | None = None
        self._task = 0

    def until(self, received: float) -> Iterator[RecordedPlan]:
        """Those that were received up to then."""
        while self._next is not None and self._next.received <= received:
            plan, self._next = self._next, next(self._plans, None)
            yield plan

    def task_at(self, received: float) -> tuple[int, str] | None:
        """The task between whose first observation and whose last plan a moment lies."""
        for plan in self.until(received):
            if self._before is None or begins_after(self._before, plan):
                self._task += 1
            self._before = plan
        coming, before = self._next, self._before
        if coming is None or not coming.inferred:
            return None
        begins = before is None or begins_after(before, coming)
        if begins and received < coming.received - coming.plan.latency.total / 1e3:
            return None
        return self._task + begins, coming.instruction
