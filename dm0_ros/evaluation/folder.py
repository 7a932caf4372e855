# SPDX-License-Identifier: Apache-2.0
"""The folder of an evaluation: what was asked, what is done, and that one run writes at a time.

A bag is evaluated in a folder of its own below `.work`, which takes its place by one renaming:
what died half-way leaves nothing, and what was done twice is there once.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dm0_ros.errors import Dm0Error
from dm0_ros.evaluation.result import RESULT, is_done

_SETTINGS, _LOCK, _WORK, _REACHED = "settings.json", "lock", ".work", "reached"


@dataclass(frozen=True)
class Place:
    """Where one bag is evaluated, and where that goes."""

    draft: Path  # no other attempt has it
    final: Path

    @property
    def done(self) -> bool:
        """Whether this attempt, or another one, has left its result."""
        return is_done(self.final)

    def open(self) -> None:
        """Make the draft. Raises `Dm0Error` where this machine does not see the folder."""
        # `Folder` made it: where it is missing, this is another machine's disk
        if not self.draft.parent.is_dir():
            raise Dm0Error(
                f"{self.draft.parent.parent}: not to be seen from {socket.gethostname()}; choose "
                "an --out on storage that every machine of the cluster has under the same path"
            )
        shutil.rmtree(self.draft, ignore_errors=True)
        self.draft.mkdir()

    def tell(self, share: float) -> None:
        """Say what share of the bag is behind, 0 to 1."""
        draft = self.draft / f"{_REACHED}.part"
        draft.write_text(f"{share:.4f}")
        draft.replace(self.draft / _REACHED)

    def read_reached(self) -> float:
        """The share that was told last; 0 where none was."""
        try:
            return float((self.draft / _REACHED).read_text())
        except FileNotFoundError:
            return 0.0

    def close(self) -> None:
        """Put the finished draft in its place, unless another attempt is there already."""
        (self.draft / _REACHED).unlink(missing_ok=True)
        if not is_done(self.draft):
            raise FileNotFoundError(f"{self.draft}: evaluated, but there is no {RESULT}")
        self.final.parent.mkdir(exist_ok=True)
        try:
            self.draft.rename(self.final)
        except OSError:
            if not self.done:
                raise
            shutil.rmtree(self.draft)


class Folder:
    """``out``/evaluation, for one run."""

    def __init__(self, out: Path) -> None:
        """Raises `Dm0Error` where another run writes into it."""
        self.path = Path(os.path.abspath(out)) / "evaluation"
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = (self.path / _LOCK).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise Dm0Error(
                f"{self.path}: another evaluation writes into it; wait, or choose another --out"
            ) from error
        self._clear()
        (self.path / _WORK).mkdir()
        self._drafts = 0

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_error: object) -> None:
        self._clear()
        self._lock.close()

    def _clear(self) -> None:
        shutil.rmtree(self.path / _WORK, ignore_errors=True)

    def forget(self) -> None:
        """Remove what earlier runs left."""
        for path in self.path.iterdir():
            if path.name not in (_LOCK, _WORK):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def settle(self, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Write down what is asked, by name of the setting, and what else results depend on.

        Raises `Dm0Error` that names what is not as it was in an earlier run.
        """
        known = {name: asdict(setting) | dict(facts[name]) for name, setting in settings.items()}
        # through JSON, so that both sides are what JSON makes of them
        asked = json.loads(json.dumps(known, default=str))
        path = self.path / _SETTINGS
        there = json.loads(path.read_text()) if path.exists() else {}
        for name in asked.keys() & there.keys():
            if different := sorted(_compare(there[name], asked[name])):
                raise Dm0Error(
                    f"{self.path}: has results of another setting ({name}: "
                    f"{'; '.join(different)}); choose another --out, or add --no-resume to "
                    "replace them"
                )
        draft = path.with_suffix(".part")
        draft.write_text(json.dumps(there | asked, indent=2, sort_keys=True) + "\n")
        draft.replace(path)

    def find(self, setting: str, key: str) -> Path:
        """Where the result of a bag is, or will be."""
        return self.path / setting / key

    def has(self, setting: str, key: str) -> bool:
        """Whether it is there."""
        return is_done(self.find(setting, key))

    def find_place(self, setting: str, key: str) -> Place:
        """For one more attempt."""
        self._drafts += 1
        draft = self.path / _WORK / f"{setting}-{key}-{self._drafts}"
        return Place(draft, self.find(setting, key))


def _compare(before: Any, now: Any, name: str = "") -> list[str]:
    """Sentences about every value that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = before.keys() | now.keys()
        found = [_compare(before.get(k), now.get(k), f"{name}.{k}".strip(".")) for k in keys]
        return [sentence for some in found for sentence in some]
    return [] if before == now else [f"{name} was {before!r}, now {now!r}"]
