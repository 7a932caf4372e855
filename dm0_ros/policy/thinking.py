# SPDX-License-Identifier: Apache-2.0
"""A thread that writes texts beside the plans, and gives way to them."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from dm0_ros.errors import Dm0Error
from dm0_ros.policy.protocol import Observation
from dm0_ros.policy.reasoning import Thought

NICENESS = 5
"""That the thread gives up on top of the one that started it. Not more: it holds the
interpreter's lock now and then, and a thread that never runs would never let go of it."""

Write = Callable[[Observation, Callable[[], bool]], Thought]
"""Writes about an observation. What it is given is to be asked between pieces of work: it waits
while a plan is being made, and says whether the text is still wanted."""


class Thinker:
    """Keeps a text about the newest observation. All but the thread belong to one caller.

    The thread pauses between two pieces of work while a plan is being made. A `write` that raises
    is told by ``listen`` as a thought without a scaffold, made by ``fail``, and tried again. What
    else raises ends the thread; `start`, `offer` and `plan` then raise `Dm0Error` that says so.
    """

    def __init__(
        self,
        write: Write,
        fail: Callable[[Observation, Exception], Thought],
        listen: Callable[[Thought], None],
        period: float,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        """``period`` s at least between the begins of two texts of a task; ``prepare`` is called
        once, first thing in the thread."""
        self._write, self._fail, self._listen = write, fail, listen
        self._period, self._prepare = period, prepare
        self._changed = threading.Condition()
        self._newest: Observation | None = None
        self._thought: Thought | None = None
        self._begun = -math.inf  # monotonic s: begin of the newest text of this task
        self._task = 0  # rises with every reset: texts of an earlier one are worth nothing
        self._planning = False
        self._writing: int | None = None  # the task that a text is being written for
        self._paused = False
        self._closed = False
        self._error: Exception | None = None  # what ended the thread
        self._thread: threading.Thread | None = None

    @property
    def thought(self) -> Thought | None:
        """The newest that has a scaffold, of this task."""
        with self._changed:
            return self._thought

    def start(self) -> None:
        """Let the thread begin, unless it has; returns when it is prepared."""
        if self._thread is None and not self._closed:
            ready = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(ready,), name="reasoning", daemon=True
            )
            self._thread.start()
            ready.wait()
            self._check()

    def offer(self, observation: Observation) -> None:
        """Something newer to write about."""
        self._check()
        with self._changed:
            self._newest = observation
            self._changed.notify_all()

    @contextmanager
    def plan(self, alone: bool = False) -> Iterator[None]:
        """While a plan is being made; ``alone``: not before the thread has come to rest."""
        with self._changed:
            self._planning = True
            if alone and self._thread is not None:
                self._changed.wait_for(self._rests)
        try:
            self._check()
            yield
        finally:
            with self._changed:
                self._planning = False
                self._changed.notify_all()

    def reset(self) -> None:
        """Forget all about the task; a text that is being written is given up."""
        with self._changed:
            self._task += 1
            self._newest = self._thought = None
            self._begun = -math.inf
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread; nothing is told afterwards."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, ready: threading.Event) -> None:
        try:
            _give_way(NICENESS)
            self._prepare()
            ready.set()
            self._work()
        except Exception as error:  # raised again where somebody can do something about it
            with self._changed:
                self._error, self._writing = error, None
                self._changed.notify_all()
        finally:
            ready.set()

    def _check(self) -> None:
        if self._error is not None:
            raise Dm0Error(
                f"the thread that reasons ended with {type(self._error).__name__}: {self._error}; "
                "load the policy again, or choose reasoning 'off'"
            ) from self._error

    def _work(self) -> None:
        while (job := self._wait_for_work()) is not None:
            task, observation = job
            try:
                thought = self._write(observation, partial(self._proceed, task))
            except Exception as error:  # told, not lost: see the class
                thought = self._fail(observation, error)
            with self._changed:
                if not self._is_wanted(task):
                    continue
                if thought.valid:
                    self._thought = thought
            self._listen(thought)

    def _wait_for_work(self) -> tuple[int, Observation] | None:
        """Number of the task and what to write about, when a text is due; None: the end."""

        def time_left() -> float:
            return self._begun + self._period - time.monotonic()

        def ready() -> bool:
            due = self._newest is not None and time_left() <= 0
            return self._closed or (due and not self._planning)

        with self._changed:
            self._writing = None
            self._changed.notify_all()
            while not ready():
                left = time_left()
                self._changed.wait(left if left > 0 else None)
            if self._closed:
                return None
            observation, self._newest = self._newest, None
            self._begun = time.monotonic()
            self._writing = self._task
            return self._task, observation

    def _proceed(self, task: int) -> bool:
        with self._changed:
            self._paused = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._planning or not self._is_wanted(task))
            self._paused = False
            return self._is_wanted(task)

    def _is_wanted(self, task: int) -> bool:
        return not self._closed and task == self._task

    def _rests(self) -> bool:
        """Whether the thread does no work and will do none while a plan is being made."""
        task = self._writing
        return task is None or (self._paused and self._is_wanted(task))


def _give_way(niceness: int) -> None:
    """Lower the priority of the calling thread, where threads have one of their own."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        present = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, min(present + niceness, 19))
