# SPDX-License-Identifier: Apache-2.0
"""Processes of a graph: started, logged to files, watched, and always ended."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from dm0_ros.errors import Dm0Error

_LAST_LINES = 12
_PATIENCE = 15.0  # s between asking a process to end and killing it


class Processes:
    """Child processes by name. A context manager: none outlives it.

    The output of each goes to ``<logs>/<name>.log``.
    """

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        self._logs = logs
        self._environment = dict(environment)
        self._children: dict[str, subprocess.Popen] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_exception) -> None:
        self.stop(*self._children)

    def start(self, name: str, command: Sequence[str], niceness: int = 0) -> None:
        """Start one; it is in a session of its own, so that Ctrl-C reaches us alone.

        ``niceness`` > 0 lets others go first where the cores are too few for all.
        """
        with self._log(name).open("w") as log, _uninterrupted():
            self._children[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
            os.setpriority(os.PRIO_PROCESS, self._children[name].pid, niceness)

    def status(self, name: str) -> int | None:
        """The exit status of one, or None while it runs."""
        return self._children[name].poll()

    def check(self) -> None:
        """Raise `Dm0Error` with its last lines where one has ended by itself."""
        for name, child in self._children.items():
            status = child.poll()
            if status is not None:
                raise Dm0Error(
                    f"{name} ended with status {status}; it said last:\n{self.tail(name)}"
                )

    def tail(self, name: str) -> str:
        """The last lines that it said, indented."""
        lines = self._log(name).read_text(errors="replace").splitlines()[-_LAST_LINES:]
        return "\n".join(f"    {line}" for line in lines) or "    (nothing)"

    def stop(self, *names: str) -> None:
        """Ask these to end, all at once, and wait; those that do not are killed.

        Interrupted, it kills them at once.
        """
        children = [self._children.pop(name) for name in names if name in self._children]
        for child in children:
            child.send_signal(signal.SIGINT)  # does nothing to one that has ended
        end = time.monotonic() + _PATIENCE
        try:
            for child in children:
                with suppress(subprocess.TimeoutExpired):
                    child.wait(max(0.1, end - time.monotonic()))
        finally:
            for child in children:
                child.kill()
                child.wait()

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put off SIGINT and SIGTERM: a process that is being born could not be ended by name yet."""
    noted: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _frame: noted.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if noted:
        signal.raise_signal(noted[0])
