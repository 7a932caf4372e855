# SPDX-License-Identifier: Apache-2.0
"""What a suite is to whoever evaluates: tasks to reset to, and steps to make."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from dm0_ros.libero.contract import Moment
from dm0_ros.libero.errors import LiberoError
from dm0_ros.libero.suites import OFFLINE, load_suites


class Environment(Protocol):
    """The tasks of a suite, one at a time. Not thread-safe.

    Task and episode are counted from 0; an episode is one of the suite's fixed initial states,
    so the same two numbers give the same scene, whoever asks and when.
    """

    instructions: Sequence[str]  # of the tasks, in their order

    def reset(self, task: int, episode: int) -> Moment:
        """Begin. Raises `LiberoError` where there is no such task or episode."""

    def step(self, action: np.ndarray) -> tuple[Moment, bool]:
        """Apply an action (7,) for 0.05 s: what there is to see then, and whether it is done.

        Numbers beyond [-1, 1] are clipped. Raises `PlanError` for an action that is none.
        """

    def close(self) -> None:
        """Free what renders."""


def open_environment(suite: str, seed: int) -> Environment:
    """The environment of a suite: our own, or LIBERO's, which has to be there.

    ``seed`` is of LIBERO's own randomness, which its initial states leave little of. Raises
    `LiberoError` that says what is missing and what to do.
    """
    load_suites().find(suite)
    if suite == OFFLINE:
        from dm0_ros.libero.offline import OfflineEnvironment

        return OfflineEnvironment()
    from dm0_ros.libero.real import RealEnvironment

    return RealEnvironment(suite, seed)


def check_episode(task: int, tasks: int, episode: int, episodes: int) -> None:
    """Raises `LiberoError` where a suite has no such task or episode."""
    for what, number, count in (("task", task, tasks), ("episode", episode, episodes)):
        if not 0 <= number < count:
            raise LiberoError(f"there is no {what} {number}; there are 0 to {count - 1}")
