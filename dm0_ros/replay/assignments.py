# SPDX-License-Identifier: Apache-2.0
"""Which tasks were given while a bag was recorded, and when: a goal is no message."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from dm0_ros.errors import Dm0Error
from dm0_ros.policy.marks import MARKS_TOPIC, Mark
from dm0_ros.replay.bag import read_messages, read_raw
from dm0_ros.replay.layout import PLANS, Layout
from dm0_ros.replay.plans import pair_traces
from dm0_ros.replay.schedule import split_tasks


@dataclass(frozen=True)
class Assignment:
    """One task. Times are those of reception, s since 1970."""

    instruction: str
    begin: float
    end: float  # when the recorded one was over, or the bag is
    outcome: str = ""  # of the recorded one; empty where nobody said


def find_assignments(
    layout: Layout, begin: float, end: float, instruction: str = ""
) -> list[Assignment]:
    """The tasks that began between ``begin`` and ``end``; one alone, of all that time, where an
    ``instruction`` is given.

    By the marks of episodes; where there are none, by the instructions of the recorded plans.
    Raises `Dm0Error` where the bag says nothing of either.
    """
    if instruction:
        return [Assignment(instruction, begin, end)]
    if layout.holds(MARKS_TOPIC):
        found = list(_read_marked(layout, end))
    elif layout.holds(PLANS):
        found = list(_read_planned(layout))
    else:
        raise Dm0Error(
            f"{layout.path}: does not say what was to be done (it has neither "
            f"{layout.name(MARKS_TOPIC)} nor {layout.name(PLANS)}): give an instruction"
        )
    chosen = [one for one in found if begin <= one.begin < end]
    if not chosen:
        raise Dm0Error(
            f"{layout.path}: no task begins in the part that is to be played; play another part, "
            "or give an instruction"
        )
    return [Assignment(o.instruction, o.begin, min(o.end, end), o.outcome) for o in chosen]


def _read_marked(layout: Layout, end: float) -> Iterator[Assignment]:
    begun: dict[str, tuple[float, Mark]] = {}
    for message in read_messages(layout.path, [layout.name(MARKS_TOPIC)]):
        mark = Mark.parse(message.content.data)
        if mark.end is None:
            begun[mark.episode] = message.time, mark
        elif mark.episode in begun:  # else it ended before the recorder came
            began, _ = begun.pop(mark.episode)
            yield Assignment(mark.instruction, began, message.time, mark.outcome)
    for began, mark in begun.values():
        yield Assignment(mark.instruction, began, end)


def _read_planned(layout: Layout) -> Iterator[Assignment]:
    """A task lasts from the observation of its first plan to its last plan."""
    plans = pair_traces(read_raw(layout.path, [layout.name(PLANS)]), traced=False)
    for first, last in split_tasks(plans):
        yield Assignment(first.instruction, _observed(first), last.received)


def _observed(plan) -> float:
    latency = plan.plan.latency.total
    return plan.received - (latency / 1e3 if math.isfinite(latency) else 0.0)
