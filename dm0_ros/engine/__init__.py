# SPDX-License-Identifier: Apache-2.0
"""The DM0 network made fast: fused weights, static caches, captured graphs. Oracle: `model`."""

from dm0_ros.engine.engine import Engine
from dm0_ros.engine.frames import FramePreparer
from dm0_ros.engine.options import EngineOptions
from dm0_ros.engine.request import Committed, Request, Result
from dm0_ros.engine.timing import Timing
from dm0_ros.model.reasoning import Ending, Reasoning, Text

__all__ = [
    "Committed",
    "Ending",
    "Engine",
    "EngineOptions",
    "FramePreparer",
    "Reasoning",
    "Request",
    "Result",
    "Text",
    "Timing",
]
