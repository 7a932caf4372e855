# SPDX-License-Identifier: Apache-2.0
"""Recorded commands, when the executor gave them, and how far others are from them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dm0_ros.robots.spec import RobotSpec, Sink, SinkKind
from dm0_ros.stamps import to_seconds

PATIENCE = 0.5
"""s for which a recorder may be held up."""


@dataclass
class Distance:
    """Of commands from recorded ones, by column; rad or m."""

    count: int = 0
    greatest: dict[str, float] = field(default_factory=dict)
    squares: dict[str, float] = field(default_factory=dict)

    def add(self, names, apart: np.ndarray) -> None:
        """One recorded command, and how far off the rehearsed ones are (C,)."""
        self.count += 1
        for name, value in zip(names, np.abs(apart), strict=True):
            self.greatest[name] = max(self.greatest.get(name, 0.0), float(value))
            self.squares[name] = self.squares.get(name, 0.0) + float(value) ** 2

    def summarise(self) -> dict:
        """For JSON."""
        root = {name: math.sqrt(total / self.count) for name, total in self.squares.items()}
        return {"count": self.count, "max": self.greatest, "rms": root}


def read_command(sink: Sink, content) -> tuple[float, tuple[str, ...], np.ndarray] | None:
    """How long after its message (s) a command is due, its columns and values; or None."""
    if sink.kind is SinkKind.FORWARD_POSITION:
        return 0.0, sink.names, np.asarray(content.data, float)
    if sink.kind is SinkKind.JOINT_TRAJECTORY and len(content.points):
        first = content.points[0]
        delay = to_seconds(first.time_from_start)
        return delay, tuple(content.joint_names), np.asarray(first.positions, float)
    return None


def find_beat(robot: RobotSpec) -> str | None:
    """The topic of a sink that gets one message a tick; None where there is none."""
    kinds = (sink.topic for sink in robot.sinks if sink.kind is SinkKind.FORWARD_POSITION)
    return next(kinds, None)


class Beat:
    """When the commands of a sink were given that gets one at every tick.

    A recorder that is held up receives them late, and many at once. Ticks are a period apart at
    least, so the newest of such a burst says when those before it were given at the latest.
    """

    def __init__(self, period: float) -> None:
        self._period = period
        self._waiting: deque[list] = deque()  # when at the latest (s), when received, command

    def add(self, received: float, command: Any) -> None:
        """The next one."""
        latest = received
        for entry in reversed(self._waiting):
            latest -= self._period
            if entry[0] <= latest:
                break
            entry[0] = latest
        self._waiting.append([received, received, command])

    def take(self, now: float) -> Iterator[tuple[float, Any]]:
        """Those that were received `PATIENCE` before ``now`` (s), and when they were given."""
        while self._waiting and self._waiting[0][1] <= now - PATIENCE:
            given, _, command = self._waiting.popleft()
            yield given, command
