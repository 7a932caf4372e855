# SPDX-License-Identifier: Apache-2.0
"""What those who make plans tell /diagnostics: how long plans take, how old observations are."""

import math
import threading
from collections import deque

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from dm0_ros.nodes.stamps import to_seconds
from dm0_ros.policy.protocol import Latency, Plan
from dm0_ros.policy.reasoning import Thought

_WINDOW = 100  # plans that the percentiles are taken over


class PlanDiagnostics:
    """Collects latencies; any thread may add."""

    def __init__(self, node: str, name: str) -> None:
        """``node`` is what makes plans, ``name`` which one: a checkpoint, or a robot."""
        self._node, self._name = node, name
        self._lock = threading.Lock()
        self._latencies: deque[Latency] = deque(maxlen=_WINDOW)
        self._thoughts: deque[Thought] = deque(maxlen=_WINDOW)
        self._disagreement = math.nan

    def add(self, plan: Plan) -> None:
        """Note how long a plan took, and how far it is from what its text says."""
        with self._lock:
            self._latencies.append(plan.latency)
            self._disagreement = math.nan if plan.thought is None else plan.thought.disagreement

    def add_thought(self, thought: Thought) -> None:
        """Note what was written, and how long it took."""
        with self._lock:
            self._thoughts.append(thought)

    def report(
        self, stamp: Time, ages: dict[str, float], state: str, complaint: str
    ) -> DiagnosticArray:
        """The message: ``ages`` of sensors (s), what the node does, what it lacks."""
        with self._lock:
            latencies, thoughts = list(self._latencies), list(self._thoughts)
        status = DiagnosticStatus(name=f"{self._node}: {self._name}", hardware_id=self._name)
        if not complaint and thoughts and not thoughts[-1].valid:
            complaint = f"the newest text was refused: {thoughts[-1].rejection}"
        status.level = DiagnosticStatus.WARN if complaint else DiagnosticStatus.OK
        status.message = complaint or state
        values = {f"age of {sensor} (s)": f"{age:.3f}" for sensor, age in ages.items()}
        if latencies:
            totals = [latency.total for latency in latencies]
            values["plan latency p50 (ms)"] = f"{np.percentile(totals, 50):.1f}"
            values["plan latency p99 (ms)"] = f"{np.percentile(totals, 99):.1f}"
            for stage in ("preprocessing", "prefix", "reasoning", "flow"):
                median = np.median([getattr(latency, stage) for latency in latencies])
                values[f"{stage} p50 (ms)"] = f"{median:.1f}"
        values |= _describe_thoughts(thoughts, to_seconds(stamp))
        if not math.isnan(self._disagreement):
            values["distance of discrete actions"] = f"{self._disagreement:.3f}"
        status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
        message = DiagnosticArray(status=[status])
        message.header.stamp = stamp
        return message


def _describe_thoughts(thoughts: list[Thought], now: float) -> dict[str, str]:
    if not thoughts:
        return {}
    refused = sum(not thought.valid for thought in thoughts)
    values = {"texts refused": f"{refused} of {len(thoughts)}"}
    if valid := [thought for thought in thoughts if thought.valid]:
        times = [thought.milliseconds for thought in valid]
        values["text age (s)"] = f"{now - valid[-1].observed:.3f}"
        values["text latency p50 (ms)"] = f"{np.percentile(times, 50):.1f}"
        values["text latency p99 (ms)"] = f"{np.percentile(times, 99):.1f}"
    return values
