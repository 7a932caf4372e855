# SPDX-License-Identifier: Apache-2.0
"""The files of docs/adding_a_robot.md, put where its reader would put them."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs/adding_a_robot.md"
_FILE = re.compile(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROGRAM = re.compile(r"^```python try\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def write_files(folder):
    """Write every file of the page below ``folder``; returns their paths."""
    paths = []
    for name, content in _FILE.findall(PAGE.read_text()):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        paths.append(path)
    return paths


def program():
    """The program that the page lets its reader try."""
    (text,) = _PROGRAM.findall(PAGE.read_text())
    return text
