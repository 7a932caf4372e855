# SPDX-License-Identifier: Apache-2.0
"""Work for several processes: tasks, how they end, and what an engine has to do.

Imports nothing heavy: a worker chooses threads and GPU before anything that looks at them.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from dm0_ros.errors import Dm0Error

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Task:
    """A call that leaves its result in files. Both are pickled: ``call`` lives in a module."""

    key: str  # no other task has it
    call: Callable[..., None]
    arguments: tuple[Any, ...]


class Ended(NamedTuple):
    """How a task ended: done, unless one of the two says otherwise."""

    task: Task
    fault: str = ""  # why it failed by itself; the same would happen again
    loss: str = ""  # what happened to its worker; the task has to be done again


class Engine(Protocol):
    """Workers, each of which does one task at a time. A lost worker is replaced."""

    size: int  # tasks that run at once

    def start(self, task: Task) -> None:
        """Give a task to an idle worker; there must be one."""

    def wait(self, seconds: float) -> list[Ended]:
        """Tasks that ended since the last call; waits so long for the first."""

    def close(self) -> None:
        """End every worker, whatever it does."""


def perform(task: Task) -> str:
    """Do a task; returns why it failed, or ''. For an error that nobody foresaw, where it was."""
    try:
        task.call(*task.arguments)
    except Dm0Error as error:
        return str(error)
    # One bag must not cost the others; its sentence carries all there is to find the mistake.
    except Exception:
        return traceback.format_exc().strip()
    return ""


def set_up_worker(threads: int, variables: Mapping[str, str]) -> None:
    """Limit the threads of this process and set its environment, before torch is imported."""
    os.environ.update(dict.fromkeys(_THREADS, str(threads)))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.update(variables)
