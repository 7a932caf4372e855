# SPDX-License-Identifier: Apache-2.0
"""What those who make plans tell /diagnostics: how long plans take, how old observations are."""

import threading
from collections import deque

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from dm0_ros.policy.protocol import Latency

_WINDOW = 100  # plans that the percentiles are taken over


class PlanDiagnostics:
    """Collects latencies; any thread may add."""

    def __init__(self, node: str, name: str) -> None:
        """``node`` is what makes plans, ``name`` which one: a checkpoint, or a robot."""
        self._node, self._name = node, name
        self._lock = threading.Lock()
        self._latencies: deque[Latency] = deque(maxlen=_WINDOW)

    def add(self, latency: Latency) -> None:
        """Note how long one plan took."""
        with self._lock:
            self._latencies.append(latency)

    def report(
        self, stamp: Time, ages: dict[str, float], state: str, complaint: str
    ) -> DiagnosticArray:
        """The message: ``ages`` of sensors (s), what the node does, what it lacks."""
        with self._lock:
            latencies = list(self._latencies)
        status = DiagnosticStatus(name=f"{self._node}: {self._name}", hardware_id=self._name)
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
        status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
        message = DiagnosticArray(status=[status])
        message.header.stamp = stamp
        return message
