# SPDX-License-Identifier: Apache-2.0
"""Callbacks of several groups at once: an executor of rclpy that wastes no turn of its loop.

rclpy's own `MultiThreadedExecutor` hands a callback that still waits for a thread to its pool
again, at every turn, and goes round without a pause meanwhile (ros2/rclpy#1452, mended after
Jazzy). Beside a network in the same process its queue grew to 7000 entries here, and pictures of a
camera were looked at a second late.
"""

import queue
import threading
from concurrent.futures import ThreadPoolExecutor

from rclpy.executors import (
    Executor,
    ExternalShutdownException,
    ShutdownException,
    TimeoutException,
)
from rclpy.task import Task


class WorkerExecutor(Executor):
    """Runs callbacks in a number of threads, and takes one only when a thread is free for it."""

    def __init__(self, threads: int) -> None:
        super().__init__()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="ros")
        self._free = threading.Semaphore(threads)
        self._ended: queue.SimpleQueue[Task] = queue.SimpleQueue()

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Start one callback, once there is one and a thread for it; see `Executor`.

        Raises what a callback raised that has ended since the last call.
        """
        self._raise_failures()
        if not self._free.acquire(timeout=timeout_sec):
            return
        try:
            task, _, _ = self.wait_for_ready_callbacks(timeout_sec=timeout_sec)
        except (ExternalShutdownException, ShutdownException, TimeoutException):
            self._free.release()
            return
        begun = threading.Event()
        self._pool.submit(self._run, task, begun)
        # A task that has not begun would be found ready again.
        begun.wait()

    def _run(self, task: Task, begun: threading.Event) -> None:
        begun.set()
        try:
            task()
        finally:
            self._free.release()
            self._ended.put(task)

    def _raise_failures(self) -> None:
        while not self._ended.empty():
            task = self._ended.get()
            if task.done():
                task.result()
