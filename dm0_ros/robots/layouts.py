# SPDX-License-Identifier: Apache-2.0
"""How the columns of a state or a plan are laid out."""

from dataclasses import dataclass
from enum import Enum


class Space(str, Enum):
    """What the columns of a plan mean. Values are those of the YAML."""

    JOINT_POSITION = "joint_position"
    EEF_POSE = "eef_pose"
    BASE_TWIST = "base_twist"


@dataclass(frozen=True)
class Layout:
    """One way to lay out state and action columns, by name."""

    space: Space
    columns: tuple[str, ...]
    absolute: tuple[str, ...]  # columns that the network gives as values, not as differences
