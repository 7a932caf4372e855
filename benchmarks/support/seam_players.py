# SPDX-License-Identifier: Apache-2.0
"""Strategies side by side: those of the executor, and what other projects do, from descriptions.

The others have no limits, as where they come from: that is what they are compared for.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np
from support.seam_plans import Rows

from dm0_ros.control import Chunk, Executor, State, make_seam
from dm0_ros.errors import PlanError
from dm0_ros.model.guidance import weigh_rows
from dm0_ros.robots.spec import RobotSpec, Space


class Player(Protocol):
    """Plans in, commands out."""

    waits: bool  # whether the next observation is made when the last plan was played to its end

    def take(self, rows: Rows, now: float) -> None:
        """A plan comes."""

    def command(self, now: float) -> np.ndarray:
        """Joint positions (J,)."""

    def busy(self) -> bool:
        """Whether the last plan is still being played."""


class Ours:
    """The executor with one of its seams, and a robot that is where it was told to be."""

    def __init__(self, robot: RobotSpec, seam: str, start: np.ndarray, executed: int) -> None:
        self.waits = seam == "hold_until_done"
        settings = replace(robot.executor, max_first_distance=7.0)
        robot = replace(robot, executor=settings)
        self.executor = Executor(robot, make_seam(seam, settings.blend_time, executed))
        self._opening = [robot.home[name] for name in robot.gripper_names]
        self._joints = len(robot.joints)
        self._position = start
        self._count = 0
        self._executed = executed

    def take(self, rows: Rows, now: float) -> None:
        """See `Player`; what is refused is counted by the executor."""
        self._count += 1
        grippers = np.tile(self._opening, (len(rows.values), 1))
        values = np.concatenate([rows.values, grippers], axis=1)
        names = self.executor.names
        chunk = Chunk(rows.start, rows.step, Space.JOINT_POSITION, names, values, self._count, 0)
        self._measure(now)
        try:
            self.executor.accept(chunk, now)
        except PlanError:
            return

    def command(self, now: float) -> np.ndarray:
        """See `Player`."""
        self._measure(now)
        point = self.executor.tick(now)
        if point is not None:
            self._position = point.positions[: self._joints]
        return self._position

    def busy(self) -> bool:
        """See `Player`."""
        return self.executor.state is State.EXECUTING

    def keep(self, rows: Rows, delay: float) -> Rows:
        """The plan as a policy with ideal real-time chunking would make it, at its observation.

        Its rows agree with what is committed, with the weights of the paper.
        """
        horizon = len(rows.values)
        certain = int(np.ceil(delay / rows.step - 1e-9))
        committed = self.executor.committed(rows.start, rows.step, horizon, rows.start)
        if not certain <= self._executed <= horizon - certain or len(committed) < certain:
            return rows
        weights = weigh_rows(horizon, certain, self._executed).numpy()[: len(committed), None]
        values = rows.values.copy()
        kept = values[: len(committed)]
        kept += weights * (committed[:, : self._joints] - kept)
        return replace(rows, values=values)

    def _measure(self, now: float) -> None:
        values = [*self._position, *self._opening]
        self.executor.measure(dict(zip(self.executor.names, values, strict=True)), now, now)


class LinearReplace:
    """The newest plan from the moment it comes, straight from row to row, at the present time."""

    waits = False

    def __init__(self, start: np.ndarray) -> None:
        self._position, self._rows = start, None

    def take(self, rows: Rows, now: float) -> None:
        """See `Player`."""
        self._rows = rows

    def command(self, now: float) -> np.ndarray:
        """See `Player`."""
        if self._rows is not None:
            self._position = sample(self._rows, now)
        return self._position

    def busy(self) -> bool:
        """See `Player`."""
        return False


class Average:
    """LeRobot's asynchronous client: rows by number in a queue, straight lines between them.

    Where a new plan has a row of a number that is queued already, it becomes 0.3 of the old and
    0.7 of the new. Rows that were sent are left alone. The arm reaches each row when it is due,
    which is kinder than to send it then.
    """

    waits = False
    OLD, NEW = 0.3, 0.7

    def __init__(self, start: np.ndarray, step: float) -> None:
        self._step = step
        self._last = self._next = start
        self._sent = -1
        self._queue: dict[int, np.ndarray] = {}

    def take(self, rows: Rows, now: float) -> None:
        """See `Player`."""
        first = round(rows.start / self._step)
        for number, row in enumerate(rows.values, first):
            if number > self._sent:
                old = self._queue.get(number)
                self._queue[number] = row if old is None else self.OLD * old + self.NEW * row

    def command(self, now: float) -> np.ndarray:
        """See `Player`."""
        place = now / self._step + 1e-9
        number = int(place) + 1
        if number > self._sent:
            self._last, self._next = self._next, self._queue.pop(number, self._next)
            self._sent = number
            self._queue = {k: row for k, row in self._queue.items() if k > number}
        return self._last + (place - int(place)) * (self._next - self._last)

    def busy(self) -> bool:
        """See `Player`."""
        return False


def sample(rows: Rows, now: float) -> np.ndarray:
    """Joints (J,) at ``now``, straight between rows, held before the first and after the last."""
    place = min(max((now - rows.start) / rows.step, 0.0), len(rows.values) - 1.0)
    index = min(int(place), len(rows.values) - 2)
    first, second = rows.values[index : index + 2]
    return first + (place - index) * (second - first)


def make_players(robot: RobotSpec, executed: int, step: float) -> dict[str, Callable]:
    """Makers of all players, by name; each takes where the arm stands."""
    ours = ("blend", "rtc", "temporal_ensemble", "replace", "hold_until_done")
    makers: dict[str, Callable] = {
        name: lambda start, name=name: Ours(robot, name, start, executed) for name in ours
    }
    makers["average_03_07"] = lambda start: Average(start, step)
    makers["linear_replace"] = LinearReplace
    return makers
