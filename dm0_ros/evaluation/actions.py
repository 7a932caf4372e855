# SPDX-License-Identifier: Apache-2.0
"""What a robot was commanded while a bag was recorded, and where it was, by joint and by time."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dm0_ros.errors import Dm0Error
from dm0_ros.replay.bag import RawMessage
from dm0_ros.replay.commands import read_command
from dm0_ros.replay.layout import JOINTS, Layout
from dm0_ros.robots.spec import RobotSpec, SinkKind

_KEPT = 90.0  # s; plans are found a minute after they came at the latest, and reach back
_GAP = 0.5  # s between two commands from which on the first is held: nobody was streaming
_POSITIONS = (SinkKind.FORWARD_POSITION, SinkKind.JOINT_TRAJECTORY)
MEASURED = "measured"


@dataclass
class Track:
    """Values of named columns in time, as far back as anyone may ask."""

    names: tuple[str, ...]
    times: list[float] = field(default_factory=list)  # s, rising
    rows: list[np.ndarray] = field(default_factory=list)  # (C,) each

    def add(self, time: float, row: np.ndarray) -> None:
        """The next one. What came before a clock that went back is not asked for again."""
        if self.times and time < self.times[-1]:
            self.times, self.rows = [], []
        self.times.append(time)
        self.rows.append(row)
        if time - self.times[0] > 2 * _KEPT:
            old = bisect.bisect_left(self.times, time - _KEPT)
            del self.times[:old], self.rows[:old]

    def window(self, begin: float, end: float) -> tuple[np.ndarray, np.ndarray]:
        """Times (N,) and values (N, C) from the last before ``begin`` to the first after ``end``.

        Empty where nothing is that old.
        """
        first = bisect.bisect_right(self.times, begin) - 1
        last = bisect.bisect_left(self.times, end) + 1
        if not self.times or last <= max(first, 0):
            return np.empty(0), np.empty((0, len(self.names)))
        chosen = slice(max(first, 0), last)
        return np.array(self.times[chosen]), np.array(self.rows[chosen])

    def first_after(self, time: float) -> float:
        """When the first one came at or after a time, s; infinite where none did."""
        place = bisect.bisect_left(self.times, time)
        return self.times[place] if place < len(self.times) else math.inf

    def sample(self, times: np.ndarray) -> np.ndarray:
        """Values (H, C) at rising times: between two that are close by, linear; else the last one
        holds, also behind the end. NaN before the first."""
        known, values = self.window(times[0], times[-1])
        if not len(known):
            return np.full((len(times), len(self.names)), np.nan)
        before = np.searchsorted(known, times, side="right") - 1
        after = np.minimum(before + 1, len(known) - 1)
        width = known[after] - known[before]
        share = np.divide(
            times - known[before], width, out=np.zeros(len(times)), where=(width > 0)
        )
        share = np.where(width <= _GAP, share, 0.0)[:, None]
        rows = values[before] + share * (values[after] - values[before])
        return np.where((before >= 0)[:, None], rows, np.nan)


class Actions:
    """Hears commands and joint states of a bag.

    A joint's action is what the first sink of the robot that has it was commanded; a joint that
    nothing commanded in this bag does what it is measured to do. ``sources`` says which.

    A row says where the robot is to be when it is due. To be there it has to be commanded earlier,
    by the latencies in the robot's YAML; what was commanded is taken as early.
    """

    def __init__(self, layout: Layout, robot: RobotSpec) -> None:
        self._openings = {g.name: g.opening_per_joint for g in robot.grippers}
        self._sinks = {
            sink.topic: sink
            for sink in robot.sinks
            if sink.kind in _POSITIONS and layout.holds(sink.topic)
        }
        self._path = layout.path
        self._tracks = {topic: Track(sink.names) for topic, sink in self._sinks.items()}
        self._tracks[JOINTS] = Track(robot.column_names)
        self.sources: Mapping[str, str] = {
            name: next((t for t, sink in self._sinks.items() if name in sink.names), MEASURED)
            for name in robot.column_names
        }
        self._leads = {MEASURED: robot.executor.observation_latency}
        self._leads |= {name: self._find_lead(robot, name) for name in robot.column_names}

    def hear(self, topic: str, message: RawMessage, now: float) -> None:
        """A message of a sink or of the joint states; raises `Dm0Error` where it does not fit."""
        if topic == JOINTS:
            content = message.read()
            values = dict(zip(content.name, map(float, content.position), strict=False))
            track = self._tracks[JOINTS]
            track.add(message.stamp, self._open(self._pick(values, track.names), track.names))
        elif topic in self._sinks:
            sink = self._sinks[topic]
            command = read_command(sink, message.read())
            if command is None:
                return
            delay, names, values = command
            if len(names) != len(values):
                raise Dm0Error(
                    f"{self._path}: a command on {topic} has {len(values)} numbers, but the "
                    f"robot's YAML has {len(names)} names for it ({', '.join(names)}); choose "
                    "the robot that was recorded with --robot"
                )
            found = dict(zip(names, values, strict=True))
            self._tracks[topic].add(now + delay, self._pick(found, sink.names))

    def sample(
        self, names: Sequence[str], times: np.ndarray, since: float = -math.inf
    ) -> np.ndarray:
        """Actions (H, C) of joints for rows that are due at rising times; NaN where unknown.

        Until the first command after ``since`` (s), when a task began, they are what was measured:
        what was commanded last may be of another scene, from which a simulator was set back.
        """
        columns = np.empty((len(times), len(names)))
        measured = self._tracks[JOINTS]
        there = measured.sample(times - self._leads[MEASURED])
        sampled: dict[tuple[str, float], np.ndarray] = {}
        for place, name in enumerate(names):
            columns[:, place] = there[:, measured.names.index(name)]
            topic, lead = self.sources[name], self._leads[name]
            if topic == MEASURED:
                continue
            track, given = self._tracks[topic], times - lead
            if (topic, lead) not in sampled:
                sampled[topic, lead] = track.sample(given)
            commanded = sampled[topic, lead][:, track.names.index(name)]
            early = given < track.first_after(since)
            columns[:, place] = np.where(early, columns[:, place], commanded)
        return columns

    def watch(self, name: str, begin: float, end: float) -> tuple[np.ndarray, np.ndarray]:
        """Times (N,) for which rows with these values (N,) of a joint would have been due, as they
        came, see `Track.window`."""
        lead, source = self._leads[name], self.sources[name]
        track = self._tracks[JOINTS if source == MEASURED else source]
        times, values = track.window(begin - lead, end - lead)
        return times + lead, values[:, track.names.index(name)]

    def _open(self, values: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Grippers in metres of opening."""
        return values * [self._openings.get(name, 1.0) for name in names]

    def _find_lead(self, robot: RobotSpec, name: str) -> float:
        """s from an action to the time of a row that says the same, as the executor has it."""
        settings = robot.executor
        if self.sources[name] == MEASURED:
            return settings.observation_latency
        moves = settings.actuation_latency
        if name in robot.gripper_names:
            moves = settings.gripper_latency
        return settings.observation_latency + moves

    @staticmethod
    def _pick(values: Mapping[str, float], names: Sequence[str]) -> np.ndarray:
        return np.array([values.get(name, np.nan) for name in names], np.float64)
