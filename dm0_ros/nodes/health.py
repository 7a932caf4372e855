# SPDX-License-Identifier: Apache-2.0
"""What the executor node tells /diagnostics, and from which values on that is WARN or ERROR."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from dm0_ros.control import State, Status
from dm0_ros.robots import RobotSpec

# Of the command period, for its 99th percentile. Half a period late, a controller finds two
# commands in one of its own periods and none in the next; gaps of three are felt as stutter.
_LATE, _VERY_LATE = 1.5, 3.0
# Of a limit that stops the arm or refuses the plan when it is reached: early enough to act.
_NEAR = 0.5
_REMEMBERED = 5  # drops whose reasons are shown
_STAGES = ("preprocessing", "vision and prefix", "reasoning", "flow")  # of ActionChunk.latency_ms


@dataclass(frozen=True)
class Readings:
    """What only the node knows, at the time of a report."""

    active: bool
    period_p50: float  # s; NaN before there is one
    period_p99: float
    joints_age: float  # s since the last joint_states; inf before the first
    speed: float  # share of full speed that the robot allows; NaN where it does not say
    rivals: str  # about more than one publisher of plans, or ''
    frozen: bool  # simulated time stands still
    lost: Sequence[str]  # complaints of sinks without which the arm must not move
    unheard: Sequence[str]  # complaints of other sinks
    refusals: Sequence[str]  # of real-time scheduling


class ExecutorDiagnostics:
    """Judges what the executor does. One thread at a time."""

    def __init__(self, robot: RobotSpec) -> None:
        self._robot = robot
        self._drops: deque[str] = deque(maxlen=_REMEMBERED)
        self._new_drops = 0  # since the last report
        self._stages: Sequence[float] = ()
        self._transport = math.nan  # s

    def note_plan(self, stages: Sequence[float], transport: float) -> None:
        """Stage latencies (ms) of a plan that came ``transport`` seconds after it was stamped."""
        self._stages, self._transport = stages, transport

    def note_drop(self, reason: str) -> None:
        """A plan was refused."""
        self._drops.append(reason)
        self._new_drops += 1

    def report(self, stamp: Time, status: Status, readings: Readings) -> DiagnosticArray:
        """The message."""
        errors = self._find_errors(status, readings)
        warnings = self._find_warnings(status, readings)
        self._new_drops = 0
        level = DiagnosticStatus.WARN if warnings else DiagnosticStatus.OK
        level = DiagnosticStatus.ERROR if errors else level
        text = "; ".join(errors + warnings) or f"{status.state.name}: {status.reason}"
        name = self._robot.name
        found = DiagnosticStatus(
            name=f"executor: {name}", hardware_id=name, level=level, message=text
        )
        values = self._collect(status, readings)
        found.values = [KeyValue(key=key, value=value) for key, value in values.items()]
        message = DiagnosticArray(status=[found])
        message.header.stamp = stamp
        return message

    def _find_errors(self, status: Status, readings: Readings) -> list[str]:
        found = [*readings.lost]
        if status.state is State.FAULT:
            found.append(f"FAULT: {status.reason}")
        if readings.rivals:
            found.append(readings.rivals)
        if readings.frozen:
            found.append("simulated time (/clock) stands still")
        if self._periods(readings) > _VERY_LATE:
            found.append(self._complain_of_periods(readings))
        return found

    def _find_warnings(self, status: Status, readings: Readings) -> list[str]:
        settings = self._robot.executor
        found = [*readings.unheard, *readings.refusals]
        if status.needs_reset and status.state is not State.FAULT:
            found.append(f"waits for ~/reset: {status.reason}")
        if status.state is State.STARVED:
            found.append(f"STARVED: {status.reason}")
        if _LATE < self._periods(readings) <= _VERY_LATE:
            found.append(self._complain_of_periods(readings))
        if self._new_drops:
            found.append(f"{self._new_drops} plans refused, the last: {self._drops[-1]}")
        if readings.active and readings.joints_age > _NEAR * settings.state_timeout:
            found.append(f"the last joint_states came {readings.joints_age:.3g} s ago")
        if status.state is State.EXECUTING:
            found += self._judge_plan(status)
        return found

    def _judge_plan(self, status: Status) -> list[str]:
        settings, found = self._robot.executor, []
        if status.time_left < settings.blend_time:
            found.append(f"{status.time_left:.2f} s of plan left, less than blend_time")
        if 0 < _NEAR * settings.plan_timeout < status.observation_age:
            found.append(f"the plan's observation is {status.observation_age:.2f} s old")
        if status.seam > _NEAR * settings.max_first_distance:
            found.append(f"the last plan began {status.seam:.3f} rad from the one before")
        return found

    def _periods(self, readings: Readings) -> float:
        """99th percentile of the command period, in periods; 0 where there is none."""
        late = readings.period_p99 * self._robot.executor.rate
        return late if readings.active and math.isfinite(late) else 0.0

    def _complain_of_periods(self, readings: Readings) -> str:
        wanted = 1e3 / self._robot.executor.rate
        return (
            f"command period: p99 {1e3 * readings.period_p99:.2f} ms instead of {wanted:.2f}; "
            "free a core, or see the parameters priority and cpu"
        )

    def _collect(self, status: Status, readings: Readings) -> dict[str, str]:
        values = {
            "state": status.state.name,
            "reason": status.reason,
            "plan in use": str(status.sequence),
            "time left (s)": f"{status.time_left:.3f}",
            "observation age (s)": f"{status.observation_age:.3f}",
            "seam (rad)": f"{status.seam:.4f}",
            "limited": ", ".join(status.limited) or "none",
            "command period p50 (ms)": f"{1e3 * readings.period_p50:.3f}",
            "command period p99 (ms)": f"{1e3 * readings.period_p99:.3f}",
            "joint states age (s)": f"{readings.joints_age:.3f}",
            "speed scaling": f"{readings.speed:.3f}",
            "plan transport (ms)": f"{1e3 * self._transport:.1f}",
        }
        for stage, latency in zip(_STAGES, self._stages, strict=False):
            values[f"{stage} (ms)"] = f"{latency:.1f}"
        values["plans refused"] = str(status.dropped)
        for index, reason in enumerate(reversed(self._drops)):
            values[f"refused, {index + 1} back"] = reason
        return values
