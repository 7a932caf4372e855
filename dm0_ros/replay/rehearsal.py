# SPDX-License-Identifier: Apache-2.0
"""What the executor would have commanded, had the replayed plans come when they are said to.

The executor's own core over a clock that is made of the recording: see docs/replay.md.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dm0_ros.control import Chunk, Executor, SetPoint, State, make_seam
from dm0_ros.control.pose_solver import PoseSolver
from dm0_ros.errors import PlanError
from dm0_ros.policy.protocol import Plan
from dm0_ros.policy.wire import as_published
from dm0_ros.replay.bag import RawMessage
from dm0_ros.replay.commands import PATIENCE, Beat, Distance, find_beat, read_command
from dm0_ros.replay.lateness import Lateness
from dm0_ros.replay.layout import JOINTS, STATUS
from dm0_ros.replay.plans import RecordedPlan
from dm0_ros.replay.walk import Step
from dm0_ros.robots.spec import RobotSpec, SinkKind, Space

_AHEAD = 0.01  # s from its arrival on that a plan begins to count, as in the executor's node
_PATIENCE = 1.0  # s until a plan that no status tells of was not followed live
_LONGEST_BRAKING = 300  # ticks
_ROWS = 1000  # of a plan that may be played: all
_SEAM = "blend"  # the executor's default


@dataclass
class _Expected:
    """A recorded plan whose replay is not known yet, or not when it is followed."""

    recorded: RecordedPlan
    arrival: float  # s: at the earliest
    shown: bool = False
    plan: Plan | None = None  # None: it cannot be replayed


class Rehearsal:
    """A `Listener` of a walk; show it every step, too, and `finish` it.

    ``watch`` is called with every set-point that would have been commanded.
    """

    def __init__(
        self,
        robot: RobotSpec,
        lateness: Lateness,
        watch: Callable[[SetPoint], None] = lambda _point: None,
    ) -> None:
        self._robot, self._lateness, self._watch = robot, lateness, watch
        seam = make_seam(_SEAM, robot.executor.blend_time, _ROWS)
        self._machine = Executor(robot, seam)
        self._solver: PoseSolver | None = None
        self._openings = {g.name: g.opening_per_joint for g in robot.grippers}
        self._sinks = {sink.topic: sink for sink in robot.sinks}
        self._period = 1.0 / robot.executor.rate
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._beat = find_beat(robot) if lateness.seconds is None else None
        self._beats = {
            sink.topic: Beat(self._period)
            for sink in robot.sinks
            if sink.kind is SinkKind.FORWARD_POSITION
        }
        self._commands: list[tuple] = []  # heap of recorded ones: when, order, what to compare
        self._expected: deque[_Expected] = deque()
        self._followed: dict[tuple[int, int], float] = {}  # s, by epoch and sequence: live
        self._latest = -math.inf  # s: arrival of the last plan
        self._told = 0, 0  # epoch and sequence in the last status
        self._now = -math.inf  # up to which everything was heard
        self._tick_at = math.nan  # of the next one
        self._ticked = -math.inf  # of the last one
        self._points: tuple[SetPoint | None, SetPoint | None] = None, None
        self.ticks = 0
        self.seams: list[float] = []  # rad or m, of every plan that was followed
        self.refusals: Counter[str] = Counter()
        self.limited: Counter[str] = Counter()  # ticks, by "<joint>: <limit>"
        self.distance: dict[str, Distance] = {}  # by topic of sink

    def hear(self, topic: str, message: RawMessage, now: float) -> None:
        """See `Listener`."""
        self._now = max(self._now, now)
        content = message.read()
        if topic == JOINTS:
            self._push(now, self._measure(content, message.stamp))
        elif topic == STATUS:
            epoch, sequence = int(content.epoch), int(content.sequence)
            self._push(now, lambda _now: self._begin_epoch(epoch))
            if (epoch, sequence) != self._told:
                self._told = epoch, sequence
                self._followed[self._told] = message.stamp - self._period / 2
        elif (command := read_command(self._sinks[topic], content)) is not None:
            delay, *command = command
            if topic in self._beats:
                self._beats[topic].add(now, command)
            else:
                self._expect(now + delay, topic, *command)
        self._advance()

    def plan(self, recorded: RecordedPlan) -> None:
        """See `Listener`. Those that no network makes are followed as they were."""
        shown = not recorded.inferred
        live = recorded.published
        arrival = live if shown else self._lateness.arrival(recorded.moment, live)
        self._expected.append(_Expected(recorded, arrival, shown, recorded.plan))

    def show(self, step: Step) -> None:
        """A step of the walk; one without a plan is as if none had come."""
        if step.recorded is not None:
            expected = next(one for one in self._expected if not one.shown)
            expected.shown, expected.plan = True, step.plan
        elif step.plan is not None:
            live = step.moment + step.plan.latency.total / 1e3
            arrival = self._lateness.arrival(step.moment, live)
            self._push(arrival, self._following(_chunk(step.plan, None)))
        self._advance()

    def finish(self) -> None:
        """All was heard and shown."""
        self._settle(math.inf)
        self._take_commands(math.inf)
        self._now += PATIENCE
        self._advance()

    def _push(self, time: float, action: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), action))

    def _advance(self) -> None:
        """Tick as far as everything that will have happened is known."""
        self._settle(self._now)
        self._take_commands(self._now)
        heard = self._now - PATIENCE  # up to then it is known when commands were given
        until = min(heard, min((one.arrival for one in self._expected), default=math.inf))
        if self._beat is None:
            self._tick_on_time(until)
        else:
            self._tick_as_live(until)

    def _take_commands(self, now: float) -> None:
        for topic, beat in self._beats.items():
            for given, command in beat.take(now):
                self._expect(given, topic, *command)

    def _expect(self, given: float, topic: str, names, values: np.ndarray) -> None:
        """A recorded command, to be compared; it is also a tick where it is the beat's."""
        if self._beat is None:
            heapq.heappush(self._commands, (given, next(self._order), (topic, names, values)))
        else:
            self._push(given, lambda now: self._meet(now, topic, names, values))

    def _meet(self, now: float, topic: str, names, values: np.ndarray) -> None:
        if topic == self._beat:
            self._tick(now)
        self._compare(now, topic, names, values)

    def _tick_on_time(self, until: float) -> None:
        if math.isnan(self._tick_at):
            if not self._events:
                return
            self._tick_at = self._events[0][0]
        while self._tick_at < until:
            self._happen(self._tick_at)
            self._tick(self._tick_at)
            while self._commands and self._commands[0][0] <= self._tick_at:
                given, _, command = heapq.heappop(self._commands)
                self._compare(given, *command)
            self._tick_at += self._period

    def _happen(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            time, _, action = heapq.heappop(self._events)
            action(time)

    def _tick_as_live(self, until: float) -> None:
        """Tick when the live one did; while nothing is commanded, at any time."""
        while self._events and self._events[0][0] <= until:
            time = self._events[0][0]
            idle = self._machine.state is State.IDLE
            if idle and not time - self._ticked < self._period:
                self._tick(time)
            self._happen(time)

    def _settle(self, now: float) -> None:
        """Pass on the plans of which it is known by ``now`` when they come."""
        while self._expected and self._expected[0].shown:
            one = self._expected[0]
            key = one.recorded.epoch, one.recorded.sequence
            as_live = self._lateness.seconds is None or not one.recorded.inferred
            if as_live and key not in self._followed and now < one.arrival + _PATIENCE:
                return
            live = self._followed.pop(key, -math.inf)
            self._latest = max(self._latest, one.arrival, live if as_live else -math.inf)
            self._expected.popleft()
            if one.plan is not None:
                self._push(self._latest, self._following(_chunk(one.plan, one.recorded)))

    def _tick(self, now: float) -> None:
        self._ticked = now
        point = self._machine.tick(now)
        self._points = self._points[1], point
        if point is not None:
            self.ticks += 1
            self.limited.update(self._machine.status(now).limited)
            self._watch(point)

    def _measure(self, content, stamp: float) -> Callable[[float], None]:
        positions = {
            name: value * self._openings.get(name, 1.0)
            for name, value in zip(content.name, map(float, content.position), strict=False)
        }
        return lambda now: self._machine.measure(positions, stamp, now)

    def _begin_epoch(self, epoch: int) -> None:
        machine = self._machine
        if epoch > machine.epoch:
            machine.epoch = epoch - 1
            machine.reset("as recorded")
            # The live one has commanded nothing since it was at rest, and this one waits for that.
            for _ in range(_LONGEST_BRAKING if self._beat else 0):
                if machine.state is State.IDLE:
                    break
                self._tick(self._ticked + self._period)

    def _following(self, chunk: Chunk) -> Callable[[float], None]:
        def follow(now: float) -> None:
            self._begin_epoch(chunk.epoch)
            try:
                self._follow(chunk, now)
            except PlanError as error:
                self._machine.refuse(str(error))
                self.refusals[_without_numbers(str(error))] += 1

        return follow

    def _follow(self, chunk: Chunk, now: float) -> None:
        machine = self._machine
        if chunk.space is Space.EEF_POSE:
            self._solver = self._solver or PoseSolver(self._robot)
            chunk = self._solver.solve(chunk, *machine.outlook(chunk, now)).chunk
        draft = machine.consider(chunk, now, _AHEAD)
        if draft is not None:
            draft.design()
            machine.adopt(draft, now)
            self.seams.append(machine.status(now).seam)

    def _compare(self, at: float, topic: str, names, values: np.ndarray) -> None:
        """A recorded command with what the last two ticks say of its moment."""
        before, after = self._points
        if after is None or before is None:
            return
        share = (at - before.time) / (after.time - before.time)
        point = before.positions + share * (after.positions - before.positions)
        columns = [self._machine.names.index(name) for name in names]
        self.distance.setdefault(topic, Distance()).add(names, point[columns] - values)


_SEQUENCES = itertools.count(1)


def _chunk(plan: Plan, recorded: RecordedPlan | None) -> Chunk:
    names, values = as_published(plan)
    sequence = next(_SEQUENCES) if recorded is None else recorded.sequence
    epoch = 0 if recorded is None else recorded.epoch
    return Chunk(plan.start, plan.step, plan.space, names, values, sequence, epoch)


def _without_numbers(sentence: str) -> str:
    """The same for every plan that is refused for the same reason."""
    return "".join("#" if sign.isdigit() else sign for sign in sentence)


def summarise(rehearsal: Rehearsal) -> dict:
    """Its figures, for JSON."""
    seams = np.array(rehearsal.seams)
    return {
        "ticks": rehearsal.ticks,
        "plans_followed": len(seams),
        "refused": dict(rehearsal.refusals),
        "seam_p50": _percentile(seams, 50),
        "seam_max": _percentile(seams, 100),
        "limited": dict(rehearsal.limited),
        "commands": {topic: one.summarise() for topic, one in rehearsal.distance.items()},
    }


def _percentile(values: np.ndarray, share: float) -> float | None:
    return float(np.percentile(values, share)) if len(values) else None
