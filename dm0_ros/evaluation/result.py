# SPDX-License-Identifier: Apache-2.0
"""What came of one bag in one setting, in a folder: result.json and plans.npz."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dm0_ros.errors import Dm0Error

RESULT, PLANS = "result.json", "plans.npz"
MOMENTS = "moments"
_NEWEST = 1  # version of both files


@dataclass(frozen=True, eq=False)
class Result:
    """One bag in one setting. See docs/evaluation.md for what the two files hold."""

    folder: Path
    content: Mapping  # of result.json

    @property
    def key(self) -> str:
        """Of the bag: the same in every setting."""
        return self.content["key"]

    @property
    def columns(self) -> list[str]:
        """Names of the D columns of errors."""
        return self.content["columns"]

    @property
    def ranges(self) -> np.ndarray:
        """(D,) by which errors are normalised; NaN where there is none."""
        return np.array([np.nan if r is None else r for r in self.content["ranges"]])

    def read_plans(self) -> dict[str, np.ndarray]:
        """The arrays of plans.npz; raises `Dm0Error` where they are broken."""
        path = self.folder / PLANS
        try:
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except (OSError, ValueError, EOFError) as error:
            remedy = f"delete {self.folder} and evaluate again"
            raise Dm0Error(f"{path}: broken ({error}); {remedy}") from error


def bag_key(path: Path) -> str:
    """A name for a bag that no other has, which can be that of a folder."""
    whole = path.resolve()
    digest = hashlib.sha256(str(whole).encode()).hexdigest()[:8]
    name = whole.parent.name if whole.name == "bag" else whole.stem
    return f"{name}-{digest}"


def is_done(folder: Path) -> bool:
    """Whether the evaluation of a bag has been finished here."""
    return (folder / RESULT).is_file()


def read_result(folder: Path) -> Result:
    """Raises `Dm0Error` where ``folder`` holds no result, or one of another version."""
    path = folder / RESULT
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise Dm0Error(f"{path}: {error.strerror}; no bag was evaluated into it") from error
    except ValueError as error:
        raise Dm0Error(f"{path}: not JSON ({error}); delete {folder}, evaluate again") from error
    if not isinstance(content, dict) or content.get("version") != _NEWEST:
        raise Dm0Error(f"{path}: of another version; delete {folder} and evaluate again")
    return Result(folder, content)


def write_result(folder: Path, content: Mapping, plans: Mapping[str, np.ndarray]) -> None:
    """Write both files, result.json last and in one piece: where it is, all is."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / PLANS, **plans)
    text = json.dumps({"version": _NEWEST, **content}, indent=1, allow_nan=False) + "\n"
    draft = folder / f".{RESULT}"
    draft.write_text(text)
    os.replace(draft, folder / RESULT)
