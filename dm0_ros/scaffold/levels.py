# SPDX-License-Identifier: Apache-2.0
"""The levels of a scaffold, in the order in which they are written."""

from enum import Enum


class Level(str, Enum):
    """What a robot says before it acts; a checkpoint says the first n of these."""

    SUBTASK = "subtask"
    BOX = "box"
    TRAJECTORY = "trajectory"
    ACTION = "action"
