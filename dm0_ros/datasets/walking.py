# SPDX-License-Identifier: Apache-2.0
"""One walk through a bag that gathers, episode by episode, what was measured and commanded."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from dm0_ros.datasets.commands import READABLE, CommandLine
from dm0_ros.datasets.spans import Span
from dm0_ros.replay.bag import RawMessage, read_raw
from dm0_ros.replay.layout import CLOCK, JOINTS, Layout
from dm0_ros.robots.spec import RobotSpec
from dm0_ros.stamps import to_seconds

OUTCOME = "simulator/outcome"
MARGIN = 1.0
"""s before and after an episode in which measurements are kept, to look between them."""
_PATIENCE = 2.0  # s of reception that messages may be late


@dataclass
class Stamps:
    """When messages of a sensor were stamped, and when they came: s."""

    stamped: list[float] = field(default_factory=list)
    received: list[float] = field(default_factory=list)

    def add(self, stamp: float, received: float) -> None:
        """One more, in order of reception."""
        self.stamped.append(stamp)
        self.received.append(received)


@dataclass
class Joint(Stamps):
    """Positions of a joint (rad), or of a gripper (m of opening)."""

    values: list[float] = field(default_factory=list)


@dataclass
class Gathered:
    """Of one episode: everything but the pictures themselves."""

    span: Span
    lines: dict[str, CommandLine]  # by recorded topic
    joints: dict[str, Joint] = field(default_factory=lambda: defaultdict(Joint))
    pictures: dict[str, Stamps] = field(default_factory=lambda: defaultdict(Stamps))
    done: list[str] = field(default_factory=list)  # to what the simulator saw it done, in order
    faults: list[str] = field(default_factory=list)
    begin: float = np.inf  # reception of its first and last message
    end: float = -np.inf


class Walk:
    """Through the recording of a robot; ``cameras`` are recorded topics."""

    def __init__(self, layout: Layout, robot: RobotSpec, cameras: Sequence[str]) -> None:
        self._layout, self._robot, self._cameras = layout, robot, frozenset(cameras)
        self._openings = {g.name: g.opening_per_joint for g in robot.grippers}
        sinks = [sink for sink in robot.sinks if sink.kind in READABLE]
        self._sinks = {layout.name(s.topic): s for s in sinks if layout.holds(s.topic)}
        self._joints, self._outcome = layout.name(JOINTS), layout.name(OUTCOME)

    def gather(self, spans: Sequence[Span]) -> Iterator[Gathered]:
        """What was recorded in each of the ``spans``, which have ends, in the order of their ends.

        Only what belongs to episodes that last is held. Raises `Dm0Error` where the bag breaks.
        """
        waiting = deque(sorted(spans, key=lambda span: span.begin))
        lasting: list[Gathered] = []
        clocked, now = self._layout.contents.counts.get(CLOCK, 0) > 0, None
        topics = {self._joints, self._outcome, CLOCK, *self._sinks, *self._cameras}
        for message in read_raw(self._layout.path, topics):
            if message.topic == CLOCK:
                now = to_seconds(message.read().clock)
                continue
            if clocked and now is None:
                continue  # before the clock said anything, no episode can have begun
            moment = now if clocked else message.time
            while waiting and waiting[0].begin - MARGIN <= moment:
                span = waiting.popleft()
                lines = {name: CommandLine(sink) for name, sink in self._sinks.items()}
                lasting.append(Gathered(span, lines))
            self._hand_out(message, moment, lasting)
            for over in [one for one in lasting if moment > one.span.end + _PATIENCE]:
                lasting.remove(over)
                yield over
        yield from lasting
        for span in waiting:
            yield Gathered(span, {})

    def _hand_out(self, message: RawMessage, moment: float, lasting: list[Gathered]) -> None:
        if not lasting:
            return
        content = None if message.topic in self._cameras else message.read()
        for episode in lasting:
            if moment <= episode.span.end + MARGIN or message.topic not in self._sinks:
                episode.begin = min(episode.begin, message.time)
                episode.end = max(episode.end, message.time)
                self._note(episode, message, content, moment)

    def _note(self, episode: Gathered, message: RawMessage, content, moment: float) -> None:
        topic = message.topic
        if topic in self._cameras:
            episode.pictures[topic].add(message.stamp, message.time)
        elif topic == self._joints:
            self._note_joints(episode, content, message.time)
        elif topic == self._outcome:
            stamp = to_seconds(content.header.stamp)
            if episode.span.begin <= stamp <= episode.span.end + MARGIN and not episode.done:
                episode.done = list(content.names)  # none after the next reset
        elif moment >= episode.span.begin:
            # What was commanded before may be about another scene, where the arm was elsewhere.
            fault = episode.lines[topic].add(moment, content)
            if fault:
                episode.faults.append(f"{topic}: {fault}")

    def _note_joints(self, episode: Gathered, content, received: float) -> None:
        stamp = to_seconds(content.header.stamp)
        if len(content.name) != len(content.position):
            names, positions = len(content.name), len(content.position)
            episode.faults.append(
                f"{self._joints}: a message has {names} names and {positions} positions"
            )
            return
        for name, position in zip(content.name, content.position, strict=True):
            joint = episode.joints[name]
            joint.add(stamp, received)
            joint.values.append(float(position) * self._openings.get(name, 1.0))
