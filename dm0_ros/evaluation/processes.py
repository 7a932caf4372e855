# SPDX-License-Identifier: Apache-2.0
"""Processes of this machine as an engine: one per core, or one per GPU."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, wait

from dm0_ros.evaluation.work import Ended, Task, perform, set_up_worker

_PATIENCE = 5.0  # s that a worker has for its end
# Nothing is shared with the parent, least of all the threads of its torch.
_CONTEXT = multiprocessing.get_context("spawn")


class Processes:
    """The engine. The first task of a worker starts it."""

    def __init__(
        self, size: int, threads: int = 1, variables: Sequence[Mapping[str, str]] = ({},)
    ) -> None:
        """``threads`` of each worker. Worker i has the environment ``variables`` [i modulo n]."""
        self.size = size
        self._threads, self._variables = threads, variables
        self._workers: list[_Worker | None] = [None] * size

    def start(self, task: Task) -> None:
        """Give a task to an idle worker."""
        for place, worker in enumerate(self._workers):
            if worker is None:
                worker = _Worker(self._threads, self._variables[place % len(self._variables)])
                self._workers[place] = worker
            if worker.task is None:
                worker.give(task)
                return
        raise RuntimeError("every worker has a task")

    def wait(self, seconds: float) -> list[Ended]:
        """Tasks that ended; also those whose worker did."""
        busy = {worker.connection: worker for worker in self._workers if worker and worker.task}
        ended = [busy[connection].collect() for connection in wait(list(busy), seconds)]
        for place, worker in enumerate(self._workers):
            if worker is not None and worker.lost:
                worker.end()
                self._workers[place] = None
        return ended

    def close(self) -> None:
        """End every worker, whatever it does."""
        for worker in filter(None, self._workers):
            worker.end()
        self._workers = [None] * self.size


class _Worker:
    """One process, from this side."""

    def __init__(self, threads: int, variables: Mapping[str, str]) -> None:
        self.connection, there = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(there, threads, dict(variables)))
        self._process.start()
        there.close()  # else the end of the process would not close the pipe
        self.task: Task | None = None
        self.lost = False

    def give(self, task: Task) -> None:
        self.task = task
        try:
            self.connection.send(task)
        except BrokenPipeError:
            self.lost = True  # `collect` says so

    def collect(self) -> Ended:
        task, self.task = self.task, None
        try:
            return Ended(task, fault=self.connection.recv())
        except (EOFError, ConnectionResetError):
            self.lost = True
            self._process.join(_PATIENCE)
            return Ended(task, loss=_describe(self._process.exitcode))

    def end(self) -> None:
        self._process.terminate()
        self._process.join(_PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()
        self.connection.close()


def _describe(code: int | None) -> str:
    if code is None:
        return "its process said nothing more"
    if code >= 0:
        return f"its process ended with status {code}"
    name = signal.Signals(-code).name
    why = " (out of memory?)" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{why}"


def _serve(connection: Connection, threads: int, variables: dict[str, str]) -> None:
    """What a worker does: one task after another, until nobody wants more."""
    set_up_worker(threads, variables)
    # Ctrl-C reaches every process of the terminal; the parent ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_follow_parent, daemon=True).start()
    while True:
        try:
            task = connection.recv()
            connection.send(perform(task))
        except (EOFError, BrokenPipeError):
            return


def _follow_parent() -> None:
    """End at once where the parent is gone: a later run may want the same files."""
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
