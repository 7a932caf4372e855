# SPDX-License-Identifier: Apache-2.0
"""What a bag says about plans, commands and motion, as arrays."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dm0_ros.replay.bag import list_topics, read_messages
from dm0_ros.replay.commands import read_command
from dm0_ros.robots.spec import RobotSpec, Sink, SinkKind
from dm0_ros.stamps import to_seconds

# The sinks whose messages hold joint positions.
_POSITIONS = (SinkKind.FORWARD_POSITION, SinkKind.JOINT_TRAJECTORY)


@dataclass(frozen=True)
class Series:
    """Values of named columns in time."""

    times: np.ndarray  # (N,) s since 1970, rising
    names: tuple[str, ...]
    values: np.ndarray  # (N, C) rad or m

    def column(self, name: str) -> np.ndarray:
        """The values (N,) of one column."""
        return self.values[:, self.names.index(name)]


@dataclass(frozen=True)
class Recording:
    """The parts of a bag that figures are made of."""

    latencies: np.ndarray  # (P, 4) ms: preprocessing, vision and prefix, reasoning, flow
    plan_times: np.ndarray  # (P,) s
    commands: dict[str, Series]  # by topic of sinks that take positions, in their order
    measured: Series  # joints, and grippers in metres of opening
    periods_p99: np.ndarray  # (S,) s: what the executor said of itself


def read_recording(bag: Path, spec: RobotSpec) -> Recording:
    """Read everything but the pictures; topics are found under any namespace.

    A topic that was not recorded gives an empty series.
    """
    sinks = {sink.topic: sink for sink in spec.sinks if sink.kind in _POSITIONS}
    wanted = ["action_chunk", "joint_states", "executor_status", *sinks]
    found = _find_topics(bag, wanted)
    rows = defaultdict(list)
    for message in read_messages(bag, found):
        rows[found[message.topic]].append(message)
    plans = rows["action_chunk"]
    return Recording(
        latencies=np.array([m.content.latency_ms for m in plans]).reshape(-1, 4),
        plan_times=np.array([m.time for m in plans]),
        commands={topic: _read_commands(rows[topic], sink) for topic, sink in sinks.items()},
        measured=_read_joints(rows["joint_states"], spec),
        periods_p99=np.array([m.content.period_p99 for m in rows["executor_status"]]),
    )


def _find_topics(bag: Path, wanted: list[str]) -> dict[str, str]:
    """Recorded name -> relative name."""
    recorded = list_topics(bag)
    return {topic: name for name in wanted for topic in recorded if topic.endswith(f"/{name}")}


def _read_commands(messages: list, sink: Sink) -> Series:
    """Set-points by time of arrival; of a trajectory, its first point."""
    read = [(m.time, read_command(sink, m.content)) for m in messages]
    found = [(arrival, command[1:]) for arrival, command in read if command is not None]
    rows = [_pick(names, values, sink.names) for _, (names, values) in found]
    return _make_series([arrival for arrival, _ in found], sink.names, rows)


def _read_joints(messages: list, spec: RobotSpec) -> Series:
    """Joints in rad and grippers in metres of opening, like the commands."""
    names = spec.column_names
    openings = {gripper.name: gripper.opening_per_joint for gripper in spec.grippers}
    scales = np.array([openings.get(name, 1.0) for name in names])
    times = [to_seconds(m.content.header.stamp) for m in messages]
    rows = [_pick(m.content.name, m.content.position, names) * scales for m in messages]
    return _make_series(times, names, rows)


def _pick(names, values, wanted) -> np.ndarray:
    """Values in the wanted order; NaN where a name is absent."""
    table = dict(zip(names, values, strict=False))
    return np.array([table.get(name, np.nan) for name in wanted])


def _make_series(times: list[float], names: tuple[str, ...], rows: list) -> Series:
    values = np.array(rows, dtype=float).reshape(len(rows), len(names))
    return Series(np.array(times, dtype=float), names, values)
