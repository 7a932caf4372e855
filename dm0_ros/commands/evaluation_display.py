# SPDX-License-Identifier: Apache-2.0
"""How far an evaluation of many bags is: a bar at a terminal, else a line now and then."""

import math
import time

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from dm0_ros.evaluation.scale import Course
from dm0_ros.evaluation.words import say_count

_PERIOD = 30.0  # s between lines where nobody sits at a terminal


class Display:
    """Shows a `Course`."""

    def __init__(self) -> None:
        self._console = Console()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[words]}"),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task("evaluating", total=None, words="")
        self._said = time.monotonic()

    def __enter__(self) -> "Display":
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._console.is_terminal:
            self._progress.stop()

    def show(self, course: Course) -> None:
        """Something may have changed."""
        if self._console.is_terminal:
            total = course.seconds or None
            self._progress.update(
                self._task, completed=course.reached, total=total, words=describe(course)
            )
        elif time.monotonic() - self._said > _PERIOD:
            self._said = time.monotonic()
            typer.echo(describe(course))


def describe(course: Course) -> str:
    """One line, such as ``3 of 8 replays, 41 of 120 s, 0:25 left``."""
    parts = [f"{course.resumed + course.done} of {course.total} replays"]
    parts.append(f"{course.reached:.0f} of {course.seconds:.0f} s")
    if not math.isnan(course.left):
        parts.append(f"{_clock(course.left)} left")
    if course.failed:
        parts.append(f"{len(course.failed)} failed")
    if course.lost:
        parts.append(f"{say_count(course.lost, 'worker')} lost")
    return ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
