# SPDX-License-Identifier: Apache-2.0
"""Policies by name: short names of shipped checkpoints, or the path of a checkpoint folder."""

import os
from pathlib import Path
from typing import Any

from dm0_ros.errors import CheckpointError, Dm0Error
from dm0_ros.policy.protocol import Policy
from dm0_ros.resources import find_resource
from dm0_ros.robots.spec import RobotSpec

# Short name -> folder in checkpoints/.
SHIPPED = {"dm0-nano": "nano-franka"}


def find_checkpoint(name_or_path: str | Path) -> Path:
    """The folder of a shipped checkpoint by its short name, or the folder at that path.

    Raises `CheckpointError` that lists the known names.
    """
    if str(name_or_path) in SHIPPED:
        folder = SHIPPED[str(name_or_path)]
        try:
            return find_resource("checkpoints", folder)
        except Dm0Error as cause:
            raise CheckpointError(f"{cause}; make it with 'dm0 train {folder}'") from cause
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path
    kind = "folder" if os.sep in str(name_or_path) else "checkpoint"
    raise CheckpointError(
        f"there is no {kind} '{name_or_path}'; give the path of a checkpoint folder, "
        f"or one of these names: {', '.join(SHIPPED)}"
    )


def load_policy(checkpoint: str | Path, robot: RobotSpec, **options: Any) -> Policy:
    """A policy for ``robot``; options are those of `Dm0Policy.from_checkpoint`."""
    folder = find_checkpoint(checkpoint)
    from dm0_ros.policy.dm0_policy import Dm0Policy  # imports torch, which takes seconds

    return Dm0Policy.from_checkpoint(folder, robot, **options)
