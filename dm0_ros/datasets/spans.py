# SPDX-License-Identifier: Apache-2.0
"""From when to when the episodes of a bag last, and what was to be done in each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from dm0_ros.errors import Dm0Error
from dm0_ros.policy.marks import MARKS_TOPIC, TELEOPERATION, Mark
from dm0_ros.policy.trace import TRACE_TOPIC
from dm0_ros.replay.bag import read_raw
from dm0_ros.replay.layout import CLOCK, JOINTS, PLANS, Layout
from dm0_ros.replay.marks import join_marks
from dm0_ros.replay.plans import RecordedPlan, pair_traces
from dm0_ros.replay.schedule import split_tasks
from dm0_ros.stamps import to_seconds


@dataclass(frozen=True)
class Span:
    """One episode. Times are those of the graph's clock, s."""

    title: str  # what it is called in messages
    instruction: str
    begin: float
    end: float | None  # None: the recording ended within it
    outcome: str = ""  # as the mark says; empty where nobody judged
    mark: str = ""  # its id


def find_spans(layout: Layout, instruction: str) -> list[Span]:
    """The episodes of a bag in their order: by marks; without any by its plans' instructions; with
    neither it is one episode as a whole, with the ``instruction`` that was given.

    Marks without an instruction get that, too. Raises `Dm0Error` where there is none to be had.
    """
    if layout.holds(MARKS_TOPIC):
        spans = [_from_mark(number, mark) for number, mark in enumerate(_read_marks(layout))]
        return [replace(span, instruction=span.instruction or instruction) for span in spans]
    if instruction:
        return [_find_whole(layout, instruction)]
    if layout.holds(PLANS):
        return list(_split_by_plans(layout))
    raise Dm0Error(
        f"{layout.path}: has neither marks of episodes nor plans; say with --instruction what was "
        "done, and the whole bag is one episode"
    )


def _read_marks(layout: Layout) -> list[Mark]:
    """Joined marks, all in the graph's time.

    Whoever marks teleoperation does it by the machine's time; where there is a /clock, what it
    said when the mark came is meant.
    """
    marks, now, begins = [], None, {}
    for message in read_raw(layout.path, [layout.name(MARKS_TOPIC), CLOCK]):
        if message.topic == CLOCK:
            now = to_seconds(message.read().clock)
            continue
        mark = Mark.parse(message.read().data)
        if mark.source == TELEOPERATION and now is not None:
            begin = begins.setdefault(mark.episode, now)
            mark = replace(mark, begin=begin, end=None if mark.end is None else now)
        marks.append(mark)
    return join_marks(marks)


def _from_mark(number: int, mark: Mark) -> Span:
    title = f"episode {number} ({mark.instruction or 'no instruction'})"
    return Span(title, mark.instruction.strip(), mark.begin, mark.end, mark.outcome, mark.episode)


def _find_whole(layout: Layout, instruction: str) -> Span:
    """All of a bag, by the first and the last stamp of its joint states."""
    begin = end = None
    for message in read_raw(layout.path, [layout.require(JOINTS)]):
        begin, end = message.stamp if begin is None else begin, message.stamp
    return Span("the whole bag", instruction, begin, end)


def _split_by_plans(layout: Layout) -> Iterator[Span]:
    """From the observation of a task's first plan until its last plan came."""
    topics = [layout.name(PLANS), layout.name(TRACE_TOPIC)]
    plans = pair_traces(read_raw(layout.path, topics), layout.holds(TRACE_TOPIC))
    tasks = split_tasks(plan for plan in plans if plan.inferred)
    for number, (first, last) in enumerate(tasks):
        yield _join(number, first, last)


def _join(number: int, first: RecordedPlan, last: RecordedPlan) -> Span:
    title = f"episode {number} ({first.instruction or 'no instruction'})"
    return Span(title, first.instruction.strip(), first.plan.start, last.published)
