# SPDX-License-Identifier: Apache-2.0
"""What a simulator needs to stand in for a robot that runs by itself: commands that come at any
time from any thread, and cameras that take turns."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dm0_ros.errors import RobotError


@dataclass(frozen=True)
class Trajectory:
    """Set-points in time for some joints, as a trajectory controller takes them."""

    names: tuple[str, ...]
    times: np.ndarray  # (N,) s after the start, rising
    values: np.ndarray  # (N, J) rad or m

    def __post_init__(self) -> None:
        if not len(self.times):
            raise RobotError("simulator: a trajectory without points; send at least one")
        if self.values.shape != (len(self.times), len(self.names)):
            raise RobotError(
                f"simulator: a trajectory of {len(self.times)} points and {len(self.names)} names "
                f"cannot have values of shape {self.values.shape}"
            )
        if np.any(np.diff(self.times) <= 0) or self.times[0] < 0:
            raise RobotError("simulator: the times of a trajectory must rise from zero or later")

    def sample(self, time_: float, initial: np.ndarray) -> np.ndarray:
        """Set-points (J,) at ``time_``: linear between points, from ``initial`` to the first."""
        times, values = self.times, self.values
        if times[0] > 0:
            times = np.concatenate([[0.0], times])
            values = np.concatenate([initial[None], values])
        return np.array([np.interp(time_, times, column) for column in values.T])


class CommandBuffer:
    """The newest command of every joint. Any thread may write; the physics thread reads.

    Raises `RobotError` for unknown names and values that are not finite.
    """

    def __init__(self, known: Sequence[str]) -> None:
        self._known = tuple(known)
        self._lock = threading.Lock()
        self._targets: dict[str, float] = {}
        self._running: tuple[Trajectory, float, np.ndarray] | None = None

    def set(self, names: Sequence[str], values: Sequence[float]) -> None:
        """Go to these values at once; ends a trajectory that has any of these joints."""
        self._check(names, values)
        with self._lock:
            if self._running and set(names) & set(self._running[0].names):
                self._running = None
            self._targets.update(zip(names, values, strict=True))

    def follow(self, trajectory: Trajectory, start: float, initial: Sequence[float]) -> None:
        """Follow a trajectory from time ``start`` on; replaces the one before.

        ``initial`` (J,) is where its joints are now.
        """
        self._check(trajectory.names, trajectory.values.ravel())
        with self._lock:
            self._running = (trajectory, start, np.array(initial, dtype=float))

    def _check(self, names: Sequence[str], values: Sequence[float]) -> None:
        unknown = [name for name in names if name not in self._known]
        if unknown:
            raise RobotError(
                f"simulator: command for unknown joint {', '.join(unknown)}; "
                f"this robot has {', '.join(self._known)}"
            )
        if not np.all(np.isfinite(values)):
            raise RobotError(f"simulator: a command for {', '.join(names)} is not finite")

    def targets(self, now: float) -> dict[str, float]:
        """What each joint that was ever commanded shall do at time ``now``."""
        with self._lock:
            if self._running:
                trajectory, start, initial = self._running
                values = trajectory.sample(now - start, initial)
                self._targets.update(zip(trajectory.names, map(float, values), strict=True))
            return dict(self._targets)

    def clear(self) -> None:
        """Forget all commands."""
        with self._lock:
            self._targets.clear()
            self._running = None


class CameraTurns:
    """Cameras of one rate, evenly staggered, so that no two pictures are due at once."""

    def __init__(self, slots: Sequence[str], rate: float) -> None:
        self._slots = tuple(slots)
        self._period = 1.0 / (rate * len(slots)) if slots else float("inf")
        self._turn = -1
        self._next = 0

    def due(self, time_: float) -> str | None:
        """The camera whose turn it is at ``time_`` (s), once; missed turns are skipped."""
        turn = int(time_ / self._period + 1e-9)
        if not self._slots or turn <= self._turn:
            return None
        # A round behind or more: that is not made up for, but no camera is left out either.
        missed = turn - self._turn > len(self._slots)
        self._turn = turn if missed else self._turn + 1
        slot = self._slots[self._next]
        self._next = (self._next + 1) % len(self._slots)
        return slot
