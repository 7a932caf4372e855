# SPDX-License-Identifier: Apache-2.0
"""A bag through a policy, step by step: what it saw, what it plans, what had been planned.

Streamed: of a bag of any length a minute of plans is held, and of its pictures only those that the
next of them need.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from dm0_ros.errors import ObservationError, PlanError
from dm0_ros.policy.marks import Mark
from dm0_ros.policy.protocol import Observation, Plan, Policy
from dm0_ros.policy.reasoning import Memory
from dm0_ros.policy.trace import TRACE_TOPIC, digest
from dm0_ros.policy.wire import as_published
from dm0_ros.replay.bag import RawMessage, read_raw
from dm0_ros.replay.faults import Watchman
from dm0_ros.replay.layout import CLOCK, JOINTS, PLANS, STATUS, Layout
from dm0_ros.replay.plans import RecordedPlan, pair_traces
from dm0_ros.replay.schedule import Ahead, begins_after, mark_at
from dm0_ros.replay.sensors import Seeker, Sought
from dm0_ros.robots.spec import RobotSpec
from dm0_ros.stamps import to_seconds

_AHEAD = 60.0  # s of reception that plans are read ahead of the sensors: no plan takes longer


@dataclass(frozen=True)
class Step:
    """One moment of a recording at which the policy plans."""

    observation: Observation | None  # None: it cannot be made again, see `fault`
    plan: Plan | None
    recorded: RecordedPlan | None  # None: nothing was planned live at this moment
    moment: float  # s of the graph's clock: when the observation was made
    identical: bool | None  # whether the network sees bit by bit what it saw; None: unknown
    fault: str = ""

    @property
    def difference(self) -> float:
        """Largest distance of the two plans, rad or m (or of a quaternion); NaN without both."""
        if self.plan is None or self.recorded is None:
            return math.nan
        names, values = as_published(self.plan)
        live = self.recorded.plan
        if names != live.names or values.shape != live.values.shape:
            return math.nan
        return float(np.abs(values - live.values).max())


class Listener(Protocol):
    """Is told what else passes by, in order of reception. ``now``: s of the graph's clock."""

    def hear(self, topic: str, message: RawMessage, now: float) -> None:
        """A message of `joint_states`, `executor_status` or one of the sinks, by relative name."""

    def plan(self, recorded: RecordedPlan) -> None:
        """A recorded plan is coming; the step that has its replay follows."""


@dataclass(frozen=True)
class Options:
    """What of a bag is replayed, and when plans are made."""

    begin: float | None = None  # s since 1970
    end: float | None = None
    period: float | None = None
    """s between plans of the replay's own schedule; None: one for each recorded plan"""
    instruction: str = ""  # for that schedule, where nobody gave one; empty: the recorded ones
    memory: Memory = field(default_factory=Memory)  # the policy's, of asynchronous reasoning
    marks: Sequence[Mark] = ()
    """of episodes, in order; where given, these say for that schedule what was wanted and when"""


class Walk:
    """Iterate once; gives `Step`s in order. The policy must be warm."""

    def __init__(
        self,
        layout: Layout,
        policy: Policy,
        robot: RobotSpec,
        options: Options | None = None,
        listener: Listener | None = None,
    ) -> None:
        """Raises `Dm0Error` where the bag lacks what the policy looks at."""
        self._layout, self._policy, self._robot = layout, policy, robot
        self._options = options or Options()
        self._listener = listener
        facts = layout.read_facts()
        self._cameras = layout.find_cameras(
            policy.spec.camera_slots, facts is not None and facts.compressed
        )
        self._joints = layout.require(JOINTS)
        told = self._options.instruction or self._options.marks
        if not (self._options.period and told):
            layout.require(PLANS)
        self.traced = layout.holds(TRACE_TOPIC)
        self._seeker = Seeker(policy.spec, robot)
        self.watchman = Watchman()
        self._now = -math.inf
        self._made = 0  # plans since the last reset
        self._last: RecordedPlan | None = None
        self.left_out = 0  # plans of tasks that began before the part that is replayed
        self.still = 0  # plans of one row, which no network makes

    def __iter__(self) -> Iterator[Step]:
        plans = self._read_plans()
        if self._options.period is None:
            return self._follow(plans)
        return self._go_own_way(plans)

    def _read(self, topics: Iterable[str]) -> Iterator[RawMessage]:
        options = self._options
        return read_raw(self._layout.path, set(topics), options.begin, options.end)

    def _read_plans(self) -> Iterator[RecordedPlan]:
        topics = [PLANS, TRACE_TOPIC] if self.traced else [PLANS]
        return pair_traces(self._read(map(self._layout.name, topics)), self.traced)

    def _watch(self) -> Iterator[RawMessage]:
        """Every message of the sensors, once it was shown to whom it concerns."""
        heard = {self._layout.name(topic): topic for topic in self._heard()}
        for message in self._read([*self._cameras, *heard, self._joints, CLOCK]):
            self._note_time(message)
            if message.topic in self._cameras:
                slot, decode = self._cameras[message.topic]
                self._seeker.add_picture(slot, message.stamp, _decoder(message, decode))
            elif message.topic == self._joints:
                self._add_joints(message)
            if self._listener is not None and message.topic in heard:
                self._listener.hear(heard[message.topic], message, self._now)
            yield message

    def _heard(self) -> list[str]:
        if self._listener is None:
            return []
        return [JOINTS, STATUS, *(sink.topic for sink in self._robot.sinks)]

    def _note_time(self, message: RawMessage) -> None:
        """Simulated time where the bag has it, else that of reception."""
        if message.topic == CLOCK:
            self._now = to_seconds(message.read().clock)
        elif CLOCK not in self._layout.contents.topics:
            self._now = message.time
        stamped = message.topic in self._cameras or message.topic == self._joints
        self.watchman.see(message, self._now if stamped else None)

    def _add_joints(self, message: RawMessage) -> None:
        content = message.read()
        try:
            self._seeker.add_joints(message.stamp, content.name, content.position)
        except ObservationError as error:
            self.watchman.note(message.topic, str(error))

    def _follow(self, plans: Iterator[RecordedPlan]) -> Iterator[Step]:
        """One step for each recorded plan of a network."""
        upcoming = Ahead(plans)
        for message in self._watch():
            for recorded in upcoming.until(message.time + _AHEAD):
                self._meet(recorded)
            for sought in self._seeker.find(message.time, self._now):
                yield self._replay(sought)
        for recorded in upcoming.until(math.inf):
            self._meet(recorded)
        for sought in self._seeker.find(math.inf, math.inf):
            yield self._replay(sought)

    def _meet(self, recorded: RecordedPlan) -> None:
        if self._listener is not None:
            self._listener.plan(recorded)
        if recorded.inferred:
            self._seeker.seek(recorded)
        else:
            self.still += 1

    def _replay(self, sought: Sought) -> Step:
        recorded, observation = sought.recorded, sought.observation
        skipped = self._line_up(recorded)
        if skipped:
            self.left_out += 1
            return Step(None, None, recorded, recorded.moment, None, skipped)
        self._made += 1
        if observation is None:
            self._policy.skip()
            return Step(None, None, recorded, recorded.moment, None, sought.fault)
        trace = recorded.trace
        identical = None if trace is None else digest(observation) == trace.digest
        self._options.memory.token_ids = None if trace is None else trace.text
        return self._plan(observation, recorded, recorded.moment, identical)

    def _plan(self, observation, recorded, moment: float, identical: bool | None) -> Step:
        prefix = recorded.trace.prefix if recorded and recorded.trace else None
        try:
            plan = self._policy.infer(observation, prefix)
        except (ObservationError, PlanError) as error:
            return Step(observation, None, recorded, moment, identical, str(error))
        return Step(observation, plan, recorded, moment, identical)

    def _line_up(self, recorded: RecordedPlan) -> str:
        """Bring the policy to where the live one was; why that cannot be, or ''."""
        begins = self._begins(recorded)
        self._last = recorded
        if begins:
            self._policy.reset()
            self._made = 0
        elif self._made == 0:
            return "its task began before the part of the bag that is replayed"
        if recorded.trace is not None:
            for _ in range(recorded.trace.index - self._made):
                self._policy.skip()  # plans that the bag lacks
                self._made += 1
        return ""

    def _begins(self, recorded: RecordedPlan) -> bool:
        if self._last is None:
            return recorded.trace is None or recorded.trace.index == 0
        return begins_after(self._last, recorded)

    def _go_own_way(self, plans: Iterator[RecordedPlan]) -> Iterator[Step]:
        """Steps at the replay's own times, for as long as somebody wanted something."""
        upcoming, task, due = Ahead(plans), None, -math.inf
        if self._options.instruction or self._options.marks:
            upcoming = Ahead(iter(()))
        for message in self._watch():
            if self._now < due:
                continue
            wanted = self._find_task(upcoming, message.time)
            if wanted is None:
                continue
            if wanted != task:
                task = wanted
                self._policy.reset()
            try:
                observation = self._seeker.newest.observe(wanted[1], self._now)
            except ObservationError as error:
                self.watchman.note("observation", str(error))
                continue
            due = self._now + self._options.period
            yield self._plan(observation, None, self._now, None)

    def _find_task(self, upcoming: Ahead, received: float) -> tuple[int, str] | None:
        """Number and instruction of the task that runs; None while none does."""
        if self._options.instruction:
            return 0, self._options.instruction
        if self._options.marks:
            return mark_at(self._options.marks, self._now)
        return upcoming.task_at(received)


def _decoder(message: RawMessage, decode):
    return lambda: decode(message.read())
