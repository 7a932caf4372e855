# SPDX-License-Identifier: Apache-2.0
"""What controllers were told to do, as a function of time: one line for each sink of positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dm0_ros.datasets.resampling import hold
from dm0_ros.robots.spec import Sink, SinkKind
from dm0_ros.stamps import to_seconds

READABLE = (SinkKind.FORWARD_POSITION, SinkKind.JOINT_TRAJECTORY)
"""Sinks whose topics carry positions of joints; those of actions are no topics."""


class CommandLine:
    """Commands of one sink in the order of reception.

    A position is held until the next one, as its controller does. A trajectory is followed
    linearly from point to point, until another one takes its place.
    """

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self._times: list[float] = []
        self._values: list[np.ndarray] = []

    @property
    def first(self) -> float | None:
        """When something was commanded first, s."""
        return self._times[0] if self._times else None

    def add(self, now: float, message: Any) -> str:
        """A message that came at ``now`` (s); returns what is wrong with it, or ''."""
        if self.sink.kind is SinkKind.FORWARD_POSITION:
            return self._add_positions(now, np.asarray(message.data, float))
        return self._add_trajectory(now, message)

    def sample(self, ticks: np.ndarray) -> np.ndarray:
        """What was commanded (F, C) at ``ticks``, in the sink's order; NaN before the first."""
        if not self._times:
            return np.full((len(ticks), len(self.sink.names)), np.nan)
        times, values = np.array(self._times), np.stack(self._values)
        held = hold(times, values, ticks)
        if self.sink.kind is SinkKind.FORWARD_POSITION:
            return held
        lines = [np.interp(ticks, times, column) for column in values.T]
        return np.where(np.isnan(held), held, np.stack(lines, axis=-1))

    def _add_positions(self, now: float, values: np.ndarray) -> str:
        names = self.sink.names
        if values.shape != (len(names),):
            return f"a command has {values.size} values for {len(names)} joints"
        if not np.isfinite(values).all():
            return f"a command is {values.tolist()}"
        self._times.append(max(now, self._times[-1]) if self._times else now)
        self._values.append(values)
        return ""

    def _add_trajectory(self, now: float, message: Any) -> str:
        missing = [name for name in self.sink.names if name not in message.joint_names]
        if missing:
            return f"a trajectory lacks {', '.join(missing)}"
        order = [list(message.joint_names).index(name) for name in self.sink.names]
        # A stamp of zero means at once.
        begin = to_seconds(message.header.stamp) or now
        times = [begin + to_seconds(point.time_from_start) for point in message.points]
        if not times:
            return ""
        if any(len(point.positions) != len(message.joint_names) for point in message.points):
            return "a trajectory has points without positions"
        if np.any(np.diff(times) <= 0):
            return "the times of a trajectory's points do not rise"
        values = [np.asarray(point.positions, float)[order] for point in message.points]
        if not np.isfinite(values).all():
            return "a trajectory has positions that are no numbers"
        self._give_way(begin, times[0])
        self._times += times
        self._values += values
        return ""

    def _give_way(self, begin: float, first: float) -> None:
        """Forget what is due later; where a trajectory runs, the next one goes on from there."""
        if not self._times:
            return
        start = min(begin, first)
        due: tuple[float, np.ndarray] | None = None  # the first of what is forgotten
        while self._times and self._times[-1] >= start:
            due = self._times.pop(), self._values.pop()
        if first == start or not self._times:
            return
        before, reached = self._times[-1], self._values[-1]
        if due is not None:
            share = (start - before) / (due[0] - before)
            reached = reached + share * (due[1] - reached)
        self._times.append(start)
        self._values.append(reached)


def list_commanded(lines: Sequence[CommandLine]) -> tuple[str, ...]:
    """The joints and grippers for which there was any command."""
    return tuple(name for line in lines if line.first is not None for name in line.sink.names)
