# SPDX-License-Identifier: Apache-2.0
"""Whether the executor has stopped since an instruction was given, however short the stop was."""

import threading

from dm0_ros.msg import ExecutorStatus


def has_stopped(status: ExecutorStatus) -> bool:
    """Whether the executor takes no plans before somebody resets it."""
    return status.needs_reset or status.state == ExecutorStatus.FAULT


class StopGuard:
    """Watches the executor for one instruction at a time, all of whose plans are for one epoch.

    An inference may take seconds: who stops and resets the arm meanwhile must not see it moved by
    what was planned, or asked for, before. So a stop is remembered, and so is the epoch: a reset
    begins a new one, which tells even where the status of the stop itself was lost. Any thread
    may note and ask.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: ExecutorStatus | None = None
        self._epoch: int | None = None  # None: the executor has said nothing yet
        self._fault = ""

    @property
    def epoch(self) -> int:
        """The one that the instruction's plans are for."""
        return self._epoch or 0

    def begin(self) -> None:
        """Watch for a new instruction, from what the executor said last."""
        with self._lock:
            self._epoch, self._fault = None, ""
            if self._newest is not None:
                self._judge(self._newest)

    def note(self, status: ExecutorStatus) -> None:
        """The executor says this now."""
        with self._lock:
            self._newest = status
            self._judge(status)

    def find_fault(self) -> str:
        """Why the instruction must not go on, or ''."""
        return self._fault

    def _judge(self, status: ExecutorStatus) -> None:
        if self._epoch is None:
            self._epoch = status.epoch
        if self._fault:
            return
        if has_stopped(status):
            self._fault = (
                f"the executor has stopped: {status.reason}; "
                "reset it (service executor/reset) once that is safe"
            )
        elif status.epoch != self._epoch:
            self._fault = (
                f"the executor is in epoch {status.epoch}, and the instruction began in epoch "
                f"{self._epoch}: it was reset or started anew; give the instruction again"
            )
