# SPDX-License-Identifier: Apache-2.0
"""Find the data files of the package: config/, urdf/, launch/, checkpoints/."""

import os
import sys
from pathlib import Path

from dm0_ros.errors import Dm0Error


def find_resource(kind: str, name: str) -> Path:
    """The file or folder ``<kind>/<name>``: of the source tree, else of an installed share folder.

    Raises `Dm0Error` that lists the places looked at.
    """
    candidates = [root / kind / name for root in _roots()]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    looked = ", ".join(str(candidate.parent) for candidate in candidates)
    raise Dm0Error(f"no {kind} '{name}'; looked in {looked}")


def _roots() -> list[Path]:
    source_tree = Path(__file__).resolve().parent.parent
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    shares = [Path(prefix) / "share" / "dm0_ros" for prefix in (*prefixes, sys.prefix) if prefix]
    return [source_tree, *shares]
