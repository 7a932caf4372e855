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
from dm0_ros.policy.wire import read_plan

_SAME = 1e-6  # s: stamps of one observation
_NEAR = 0.5  # s between the observations of two plans that are compared
_WORDS = {
    "same_observation": "saw the same picture as",
    "near_observation": "saw another picture than",
}


class Comparison:
    """Is shown plans of both kinds, and compares them at the end.

    Of one row they are no network's: they say "stay", and are only counted.
    """

    def __init__(self) -> None:
        self._recorded: dict[str, list[Plan]] = defaultdict(list)  # by instruction
        self._live: dict[str, list[Plan]] = defaultdict(list)
        self.still = 0  # live ones of one row

    def add_recorded(self, message: Any) -> None:
        """An ActionChunk of the bag."""
        self._add(self._recorded, message)

    def add_live(self, message: Any) -> None:
        """An ActionChunk of the live graph."""
        self.still += not self._add(self._live, message)

    def _add(self, plans: dict[str, list[Plan]], message: Any) -> bool:
        plan = read_plan(message)
        if len(plan.values) > 1:
            plans[message.instruction].append(plan)
        return len(plan.values) > 1

    def summarise(self) -> dict:
        """For JSON. Distances are the largest of a plan's values, rad or m (or a quaternion's):
        ``identical_observations`` of plans that saw the same picture, ``near`` of the others, at
        the times that both plans speak of. Raises `Dm0Error` where they have other columns.
        """
        same, near, unpaired = [], [], 0
        for instruction, plans in self._live.items():
            recorded = sorted(self._recorded[instruction], key=lambda plan: plan.start)
            starts = [plan.start for plan in recorded]
            for plan in plans:
                other = _nearest(recorded, starts, plan.start)
                if other is None:
                    unpaired += 1
                elif abs(other.start - plan.start) < _SAME:
                    same.append(_measure(plan, other))
                else:
                    near.append(_measure(plan, other))
        return {
            "plans": sum(map(len, self._live.values())),
            "recorded_plans": sum(map(len, self._recorded.values())),
            "plans_to_stay": self.still,
            "same_observation": _describe(same),
            "near_observation": _describe(near),
            "unpaired": unpaired,
        }


def _nearest(plans: list[Plan], starts: list[float], moment: float) -> Plan | None:
    index = bisect_left(starts, moment)
    found = min(
        plans[max(0, index - 1) : index + 1], key=lambda p: abs(p.start - moment), default=None
    )
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
                f"{found['count']} plans {words} a recorded one: off by {found['max']:.3g} at "
                f"most, median {found['median']:.3g}"
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
