# SPDX-License-Identifier: Apache-2.0
"""Chunks to set-points: interpolation, seams, limits, and the executor's state machine.

Arrays and seconds only. Nothing here knows torch or ROS, and time is always an argument.
"""

from dm0_ros.control.limits import Limits
from dm0_ros.control.machine import Executor
from dm0_ros.control.plan import Chunk
from dm0_ros.control.seam import (
    SEAMS,
    Blend,
    HoldUntilDone,
    Replace,
    Rtc,
    Seam,
    TemporalEnsemble,
    make_seam,
)
from dm0_ros.control.state import SetPoint, State, Status

__all__ = [
    "SEAMS",
    "Blend",
    "Chunk",
    "Executor",
    "HoldUntilDone",
    "Limits",
    "Replace",
    "Rtc",
    "Seam",
    "SetPoint",
    "State",
    "Status",
    "TemporalEnsemble",
    "make_seam",
]
