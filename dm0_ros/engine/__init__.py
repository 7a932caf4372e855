# SPDX-License-Identifier: Apache-2.0
"""The DM0 network made fast: fused weights, static caches, captured graphs. Oracle: `model`."""

from dm0_ros.engine.engine import Engine
from dm0_ros.engine.frames import FramePreparer
from dm0_ros.engine.options import EngineOptions
from dm0_ros.engine.request import Committed, Reasoning, Request, Result
from dm0_ros.engine.timing import Timing

__all__ = [
    "Committed",
    "Engine",
    "EngineOptions",
    "FramePreparer",
    "Reasoning",
    "Request",
    "Result",
    "Timing",
]
