# SPDX-License-Identifier: Apache-2.0
"""Success rates of results, with 95 % intervals."""

from collections.abc import Iterable, Sequence
from typing import Any

from dm0_ros.intervals import wilson
from dm0_ros.libero.records import Result


def summarise(results: Iterable[Result], instructions: Sequence[str]) -> dict[str, Any]:
    """Figures of one agent's results, of all tasks and of each, as JSON has them.

    Intervals of all tasks take episodes for alike; those of one task differ less than that, so
    the interval is a little wide.
    """
    ordered = sorted(results, key=lambda result: result.key)
    tasks = {}
    for task in dict.fromkeys(result.task for result in ordered):
        figures = _rate([result for result in ordered if result.task == task])
        tasks[str(task)] = {"instruction": instructions[task], **figures}
    errors = sorted({result.error for result in ordered if result.error})
    return {**_rate(ordered), "errors": errors, "tasks": tasks}


def _rate(results: Sequence[Result]) -> dict[str, Any]:
    wins = [result for result in results if result.success]
    low, high = wilson(len(wins), len(results))
    return {
        "episodes": len(results),
        "successes": len(wins),
        "success": len(wins) / len(results),
        "success_95": [low, high],
        "steps": sum(result.steps for result in wins) / len(wins) if wins else None,
    }
