# SPDX-License-Identifier: Apache-2.0
"""What was done in every episode, as JSON lines: a run that was stopped goes on where it was."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from dm0_ros.libero.errors import LiberoError


@dataclass(frozen=True)
class Run:
    """What an episode's outcome depends on, beside task and episode. The first line of a file."""

    suite: str
    seed: int
    checkpoint: str = ""  # with the hash of its weights, so that another one is noticed


@dataclass(frozen=True)
class Result:
    """What happened in one episode. A line of a file."""

    policy: str
    task: int
    episode: int
    success: bool
    steps: int  # of 0.05 s, without those of waiting
    error: str = ""  # why the policy gave up, where it did

    @property
    def key(self) -> tuple[str, int, int]:
        """Which episode it is."""
        return self.policy, self.task, self.episode


class Records:
    """A file of results, written episode by episode; without a path nothing is kept.

    Raises `LiberoError` where the file is of another run, or is none. A last line that was cut
    off, as by a crash, is dropped, and its episode done again.
    """

    def __init__(self, path: Path | None, run: Run) -> None:
        self._path = path
        self.results: list[Result] = []
        if path is None:
            return
        if path.exists():
            self._read(path, run)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._append(asdict(run))

    def add(self, result: Result) -> None:
        """One more episode is over."""
        self.results.append(result)
        if self._path is not None:
            self._append(asdict(result))

    def missing(self, wanted: Iterable[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
        """Those of the wanted episodes that are not done yet, in their order."""
        done = {result.key for result in self.results}
        return [key for key in wanted if key not in done]

    def _append(self, content: dict) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(content) + "\n")

    def _read(self, path: Path, run: Run) -> None:
        whole, _, cut = path.read_bytes().rpartition(b"\n")
        if cut:
            path.write_bytes(whole + b"\n" if whole else b"")
        lines = whole.split(b"\n") if whole else []
        if not lines:
            self._append(asdict(run))
            return
        found = self._parse(lines[0], 1, Run)
        if found != run:
            raise LiberoError(
                f"{path} is of another run: {asdict(found)}, not {asdict(run)}; name another file"
            )
        self.results = [
            self._parse(line, number, Result) for number, line in enumerate(lines[1:], 2)
        ]

    def _parse(self, line: bytes, number: int, kind: type) -> Run | Result:
        try:
            return kind(**json.loads(line))
        except (ValueError, TypeError) as cause:
            raise LiberoError(
                f"{self._path}:{number}: is no record of 'dm0 eval libero' ({cause}); name "
                "another file"
            ) from cause
