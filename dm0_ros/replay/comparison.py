# SPDX-License-Identifier: Apache-2.0
"""Plans that a live graph published while a bag was played, against those of the bag."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from dm0_ros.errors import Dm0Error
from dm0_ros.policy.protocol import Plan
from dm0_ros.policy.trace import Trace
from dm0_ros.policy.wire import read_plan

_SAME = 1e-6  # s: rounding of stamps
_NEAR = 0.5  # s between the observations of two plans that are compared
_WORDS = {
    "repeated": "are recorded ones again (the same observation, noise and text)",
    "near": "were compared with recorded ones of about the same time",
}


class _Side:
    """The plans of one of the two graphs. Those of one row say "stay", and are only counted."""

    def __init__(self) -> None:
        self.plans: dict[str, list[tuple[Plan, int]]] = defaultdict(list)  # by instruction
        self.seen: dict[int, tuple] = {}  # all that a plan's numbers depend on, by sequence
        self.still = 0

    def add(self, message: Any) -> None:
        """An ActionChunk."""
        plan = read_plan(message)
        if len(plan.values) > 1:
            self.plans[message.instruction].append((plan, int(message.sequence)))
        else:
            self.still += 1

    def add_trace(self, text: str) -> None:
        """What one of them was made of; raises `Dm0Error` where it is no trace."""
        trace = Trace.parse(text)
        prefix = None if trace.prefix is None else trace.prefix.rows.tobytes()
        self.seen[trace.sequence] = trace.digest, trace.index, trace.text, prefix

    def count(self) -> int:
        """Plans of more than one row."""
        return sum(map(len, self.plans.values()))


class Comparison:
    """Is shown plans of both graphs and their traces, and compares them at the end."""

    def __init__(self) -> None:
        self.recorded, self.live = _Side(), _Side()

    def summarise(self) -> dict:
        """For JSON. Distances are the largest of a plan's values, rad or m (or a quaternion's).

        ``repeated`` are plans of which a recorded one saw the same, bit by bit, text included, and
        had as many plans before it in its task: so it had the same noise. Others are compared
        with the one whose observation is ``near``est, at the times that both speak of. Raises
        `Dm0Error` where they have other columns.
        """
        repeated, near, unpaired = [], [], 0
        for instruction, plans in self.live.plans.items():
            recorded = sorted(self.recorded.plans[instruction], key=lambda one: one[0].start)
            known = {self.recorded.seen.get(sequence): plan for plan, sequence in recorded}
            known.pop(None, None)
            starts = [plan.start for plan, _ in recorded]
            for plan, sequence in plans:
                same = known.get(self.live.seen.get(sequence))
                other = same or _nearest(recorded, starts, plan.start)
                if other is None:
                    unpaired += 1
                else:
                    (repeated if same else near).append(_measure(plan, other))
        return {
            "plans": self.live.count(),
            "recorded_plans": self.recorded.count(),
            "plans_to_stay": self.live.still,
            "repeated": _describe(repeated),
            "near": _describe(near),
            "unpaired": unpaired,
        }


def _nearest(plans: list[tuple[Plan, int]], starts: list[float], moment: float) -> Plan | None:
    index = bisect_left(starts, moment)
    around = [plan for plan, _ in plans[max(0, index - 1) : index + 1]]
    found = min(around, key=lambda plan: abs(plan.start - moment), default=None)
    return found if found is not None and abs(found.start - moment) <= _NEAR else None


def _measure(plan: Plan, other: Plan) -> float:
    if plan.names != other.names:
        raise Dm0Error(
            f"the recorded plans have the columns {', '.join(other.names)}, the live ones "
            f"{', '.join(plan.names)}; choose a checkpoint of the same layout"
        )
    times, others = (p.start + p.step * np.arange(len(p.values)) for p in (plan, other))
    both = (times >= others[0] - _SAME) & (times <= others[-1] + _SAME)
    if not both.any():
        return float("nan")
    columns = [np.interp(times[both], others, column) for column in other.values.T]
    return float(np.abs(plan.values[both] - np.stack(columns, 1)).max())


def _describe(distances: list[float]) -> dict:
    found = np.array(distances)[np.isfinite(distances)] if distances else np.empty(0)
    return {
        "count": len(distances),
        "median": float(np.median(found)) if len(found) else None,
        "max": float(found.max()) if len(found) else None,
    }


def describe(figures: dict) -> Iterator[str]:
    """Sentences about what came of playing a bag into a live graph."""
    for task in figures["tasks"]:
        then = f" (recorded: {task['recorded_outcome']})" if task["recorded_outcome"] else ""
        now = f"{task['outcome']}, {task['message']}" if task["outcome"] else "not over"
        yield f"'{task['instruction']}'{then}: {task['plans']} plans; {now}"
    for name, words in _WORDS.items():
        found = figures[name]
        if found["max"] is not None:
            yield (
                f"{found['count']} plans {words}: off by {found['max']:.3g} at most, median "
                f"{found['median']:.3g}"
            )
    executor, commands = figures["executor"], figures["commands"]
    for reason in executor["stopped"]:
        yield f"the executor stopped: {reason}"
    counts = ", ".join(f"{topic} {n['live']} ({n['recorded']})" for topic, n in commands.items())
    yield f"plans refused: {executor['dropped']}; commands (recorded): {counts}"
    yield (
        f"{figures['plans']} plans live, {figures['recorded_plans']} recorded; "
        f"{figures['seconds']:.1f} s were played, {figures['latest'] * 1e3:.0f} ms late at most"
    )
