# SPDX-License-Identifier: Apache-2.0
"""A bag as a programme for a live graph: which messages, tasks, resets and times come when.

What the recorded graph itself put out (plans, statuses, commands, drawings) is not played onto the
live topics, where the live graph puts out its own.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from rosbags.interfaces import QosDurability

from dm0_ros.errors import Dm0Error
from dm0_ros.policy.marks import MARKS_TOPIC
from dm0_ros.policy.trace import FACTS_TOPIC, TRACE_TOPIC
from dm0_ros.replay.assignments import find_assignments
from dm0_ros.replay.bag import RawMessage, read_raw
from dm0_ros.replay.layout import CLOCK, JOINTS, PLANS, STATUS, Layout
from dm0_ros.robots.spec import RobotSpec
from dm0_ros.stamps import to_seconds

RECORDED = "recorded/"
"""Before the names of outputs that are played beside the live ones."""
_TICK = 0.005  # s of the bag between times that are told, where the bag has no clock
_OUTPUTS = (PLANS, STATUS, TRACE_TOPIC, FACTS_TOPIC, MARKS_TOPIC, "scaffold")
_DRAWINGS = "overlay/"
# Every node has these itself.
_COMMON = (CLOCK, "/diagnostics", "/rosout", "/parameter_events")
_TRANSITIONS = "/transition_event"


class Kind(str, Enum):
    """What an event is."""

    CLOCK = "clock"  # content: s of the graph's clock
    MESSAGE = "message"  # topic, and content: bytes in CDR
    PLAN = "plan"  # content: a recorded ActionChunk
    TRACE = "trace"  # content: what a recorded plan was made of, as JSON
    COMMAND = "command"  # a recorded one; topic of its sink
    BEGIN = "begin"  # content: an Assignment
    END = "end"  # content: the same
    RESET = "reset"  # of the executor


class Event(NamedTuple):
    """One of them, and when it is due: s since 1970, of reception."""

    moment: float
    kind: Kind
    content: Any = None
    topic: str = ""


@dataclass(frozen=True)
class Part:
    """What of a bag is played, and how."""

    begin: float | None = None  # s after the bag's beginning
    end: float | None = None
    instruction: str = ""  # one task of all that time instead of the recorded ones
    recorded: bool = False  # play the outputs of the recorded graph too, below `RECORDED`


class Playback:
    """Iterate for the events in order. Streamed: no more than a message is held."""

    def __init__(self, layout: Layout, robot: RobotSpec, part: Part = Part()) -> None:
        """Raises `Dm0Error` where the bag lacks joint states, or says nothing of tasks."""
        layout.require(JOINTS)
        for topic in (PLANS, TRACE_TOPIC, STATUS):
            layout.holds(topic)  # of our type, if at all
        contents = layout.contents
        self._layout = layout
        # The first and the last message are in it, however their times are rounded.
        self._from = contents.begin + part.begin if part.begin else None
        self._until = contents.begin + part.end if part.end is not None else None
        self.begin = contents.begin + (part.begin or 0.0)
        self.end = contents.end if part.end is None else contents.begin + part.end
        self.end = min(self.end, contents.end)
        if self.begin >= self.end:
            raise Dm0Error(
                f"{layout.path}: nothing to play from {part.begin or 0.0:g} s on; it lasts "
                f"{contents.end - contents.begin:.1f} s"
            )
        outputs = {*_OUTPUTS, *(sink.topic for sink in robot.sinks)}
        self.topics = {
            name: played
            for name in sorted(contents.topics)
            if contents.counts.get(name) and (played := self._rename(name, outputs, part.recorded))
        }
        self.assignments = find_assignments(layout, self.begin, self.end, part.instruction)
        self._sinks = {layout.name(sink.topic): sink.topic for sink in robot.sinks}
        self._has_clock = contents.counts.get(CLOCK, 0) > 0
        self.first_time = self._find_first_time()

    def _find_first_time(self) -> float:
        """What the graph's clock says at the beginning, s."""
        if self._has_clock:
            for message in read_raw(self._layout.path, [CLOCK], self._from, self._until):
                return to_seconds(message.read().clock)
        return self.begin

    def _rename(self, name: str, outputs: set[str], recorded: bool) -> str:
        """The relative name that a topic is played on; empty for those that are not."""
        hidden = any(part.startswith("_") for part in name.split("/"))
        if hidden or name in _COMMON or name.endswith(_TRANSITIONS):
            return ""
        relative = name.removeprefix(self._layout.prefix).lstrip("/")
        if relative in outputs or relative.startswith(_DRAWINGS):
            return RECORDED + relative if recorded else ""
        return relative

    def leave_out(self, name: str) -> None:
        """Do not play the recorded topic of that name."""
        self.topics.pop(name)

    def kept(self) -> Iterator[Event]:
        """Messages from before the beginning that are kept for those who join late."""
        if self._from is None:
            return
        offered = self._layout.contents.qualities
        lasting = [
            name
            for name in self.topics
            if any(q.durability is QosDurability.TRANSIENT_LOCAL for q in offered.get(name, ()))
        ]
        for message in read_raw(self._layout.path, lasting, None, self.begin):
            if message.time < self.begin:
                topic = self.topics[message.topic]
                yield Event(self.begin, Kind.MESSAGE, message.data, topic)

    def __iter__(self) -> Iterator[Event]:
        events = heapq.merge(self._messages(), self._tasks(), key=lambda event: event.moment)
        return events if self._has_clock else self._with_clock(events)

    def _messages(self) -> Iterator[Event]:
        layout = self._layout
        plans, traces, status = map(layout.name, (PLANS, TRACE_TOPIC, STATUS))
        needed = {CLOCK, plans, traces, status, *self._sinks}
        epoch = None
        for message in read_raw(layout.path, {*self.topics, *needed}, self._from, self._until):
            if message.topic == CLOCK:
                now = to_seconds(message.read().clock)
                yield Event(message.time, Kind.CLOCK, now)
            elif message.topic == plans:
                yield Event(message.time, Kind.PLAN, message.read())
            elif message.topic == traces:
                yield Event(message.time, Kind.TRACE, message.read().data)
            elif message.topic in self._sinks:
                yield Event(message.time, Kind.COMMAND, topic=self._sinks[message.topic])
            elif message.topic == status:
                before, epoch = epoch, int(message.read().epoch)
                if before is not None and epoch > before:
                    yield Event(message.time, Kind.RESET)
            if message.topic in self.topics:
                yield self._play(message)

    def _play(self, message: RawMessage) -> Event:
        return Event(message.time, Kind.MESSAGE, message.data, self.topics[message.topic])

    def _tasks(self) -> Iterator[Event]:
        for assignment in self.assignments:
            yield Event(assignment.begin, Kind.BEGIN, assignment)
            yield Event(assignment.end, Kind.END, assignment)

    def _with_clock(self, events: Iterator[Event]) -> Iterator[Event]:
        """Reception's own time, told on a grid."""
        told = 0
        for event in events:
            while self.begin + told * _TICK <= event.moment:
                now = self.begin + told * _TICK
                yield Event(now, Kind.CLOCK, now)
                told += 1
            yield event
