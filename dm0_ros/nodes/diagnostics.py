# SPDX-License-Identifier: Apache-2.0
"""What the policy node tells /diagnostics: how long plans take, how old the pictures are."""

import threading
from collections import deque

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from dm0_ros.policy.protocol import Latency

_WINDOW = 100  # plans that the percentiles are taken over


class PolicyDiagnostics:
    """Collects latencies; any thread may add."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._latencies: deque[Latency] = deque(maxlen=_WINDOW)

    def add(self, latency: Latency) -> None:
        """Note how long one plan took."""
        with self._lock:
            self._latencies.append(latency)

    def report(
        self, stamp: Time, ages: dict[str, float], state: str, complaint: str
    ) -> DiagnosticArray:
        """The message: ``ages`` of pictures (s) by slot, what the node does, what it lacks."""
        with self._lock:
            latencies = list(self._latencies)
        status = DiagnosticStatus(name=f"policy: {self._name}", hardware_id=self._name)
        status.level = DiagnosticStatus.WARN if complaint else DiagnosticStatus.OK
        status.message = complaint or state
        values = {f"age of camera {slot} (s)": f"{age:.3f}" for slot, age in ages.items()}
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
