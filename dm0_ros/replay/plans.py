# SPDX-License-Identifier: Apache-2.0
"""The plans of a bag, each with the trace of what it was made of."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from dm0_ros.errors import Dm0Error
from dm0_ros.policy.protocol import Plan
from dm0_ros.policy.trace import TRACE_TOPIC, Trace
from dm0_ros.policy.wire import read_plan
from dm0_ros.replay.bag import RawMessage
from dm0_ros.stamps import to_seconds

_PATIENCE = 2.0  # s of reception that a trace may be behind its plan


@dataclass(frozen=True)
class RecordedPlan:
    """A plan as it was published."""

    received: float  # s since 1970
    published: float  # s: its header's stamp
    sequence: int
    epoch: int
    instruction: str
    policy: str
    plan: Plan  # as on the wire: poses with quaternions
    trace: Trace | None  # None: not recorded, or the plan is not one of the network's

    @property
    def moment(self) -> float:
        """About when its observation was made, s: all stages of its latency before it came."""
        latency = self.plan.latency.total
        return self.published - (latency if math.isfinite(latency) else 0.0) / 1e3

    @property
    def inferred(self) -> bool:
        """Whether a network made it: one of a single row says to stay where the robot is."""
        return self.trace is not None or len(self.plan.values) > 1


def pair_traces(messages: Iterable[RawMessage], traced: bool) -> Iterator[RecordedPlan]:
    """Plans in the order in which they were received, of messages of plans and of traces.

    Unless the bag is ``traced``, nobody waits for traces.
    """
    waiting: deque[RawMessage] = deque()
    traces: dict[int, Trace] = {}

    def next_plan(now: float) -> RecordedPlan | None:
        if not waiting:
            return None
        message = waiting[0].read()
        trace = traces.pop(int(message.sequence), None)
        if traced and trace is None and now - waiting[0].time < _PATIENCE:
            return None
        return _record(message, waiting.popleft().time, trace)

    for raw in messages:
        if raw.topic.endswith(f"/{TRACE_TOPIC}"):
            trace = Trace.parse(raw.read().data)
            traces[trace.sequence] = trace
        else:
            waiting.append(raw)
        while (plan := next_plan(raw.time)) is not None:
            yield plan
    while (plan := next_plan(math.inf)) is not None:
        yield plan


def _record(message: Any, received: float, trace: Trace | None) -> RecordedPlan:
    try:
        return RecordedPlan(
            received,
            to_seconds(message.header.stamp),
            int(message.sequence),
            int(message.epoch),
            message.instruction,
            message.policy,
            read_plan(message),
            trace,
        )
    except AttributeError as error:
        raise Dm0Error(
            f"the bag's plans are of another version of dm0_ros/ActionChunk: {error}"
        ) from error
