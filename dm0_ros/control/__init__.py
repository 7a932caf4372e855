# SPDX-License-Identifier: Apache-2.0
"""Chunks to set-points: interpolation, seams, limits, and the executor's state machine.

Arrays and seconds only. Nothing here knows torch or ROS, and time is always an argument.
"""

from dm0_ros.control.limits import Limits
from dm0_ros.control.machine import Executor
from dm0_ros.control.plan import Chunk, Trajectory
from dm0_ros.control.seam import Blend, Replace, Seam
from dm0_ros.control.state import SetPoint, State, Status

__all__ = [
    "Blend",
    "Chunk",
    "Executor",
    "Limits",
    "Replace",
    "Seam",
    "SetPoint",
    "State",
    "Status",
    "Trajectory",
]
