# SPDX-License-Identifier: Apache-2.0
"""The file that the option --json of a command names."""

import json
from pathlib import Path
from typing import Any


def write_figures(path: Path | None, figures: Any) -> None:
    """Write them as JSON, in a folder that need not be there; nothing where no file is wanted."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=2) + "\n")
