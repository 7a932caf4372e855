# SPDX-License-Identifier: Apache-2.0
"""What a run leaves in its folder, so that a killed one loses nothing and none is done twice."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dm0_ros.errors import Dm0Error

_RESULT = "result.json"


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """The folder for one process alone, until it ends, however it does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Dm0Error(f"{folder}: another process works there; wait for it") from error
        yield


def check_settings(folder: Path, settings: dict) -> None:
    """Note the settings of a run that begins. Raises `Dm0Error` where it began with others."""
    text, file = json.dumps(settings, indent=1, default=str), folder / "settings.json"
    if not file.exists():
        _write(file, text)
    elif file.read_text(encoding="utf-8") != text:
        raise Dm0Error(f"{folder} is of a run with other settings; give another --out")


def write_result(folder: Path, result: dict) -> dict:
    """The run is finished, and this is what it came to."""
    _write(folder / _RESULT, json.dumps(result, indent=1) + "\n")
    return result


def _write(path: Path, text: str) -> None:
    """All of it or nothing."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)


def read_result(folder: Path) -> dict | None:
    """What a cell came to; None while it is not finished."""
    file = folder / _RESULT
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def read_lines(file: Path) -> list[dict]:
    """Whole lines of a JSONL; what a killed run left of one is cut off."""
    if not file.exists():
        return []
    text = file.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        _write(file, whole)
    return [json.loads(line) for line in whole.splitlines()]
