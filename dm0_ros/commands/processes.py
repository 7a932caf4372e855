# SPDX-License-Identifier: Apache-2.0
"""Processes of a graph: started, logged to files, watched, and always ended."""

import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
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

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start one; it is in a session of its own, so that Ctrl-C reaches us alone."""
        with self._log(name).open("w") as log:
            self._children[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )

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
        """Ask these to end, all at once, and wait; those that do not are killed."""
        children = [self._children.pop(name) for name in names if name in self._children]
        for child in children:
            if child.poll() is None:
                child.send_signal(signal.SIGINT)
        end = time.monotonic() + _PATIENCE
        for child in children:
            try:
                child.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"
