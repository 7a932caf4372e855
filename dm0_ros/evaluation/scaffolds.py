# SPDX-License-Identifier: Apache-2.0
"""Scaffolds that a replayed policy wrote against those in the bag."""

from __future__ import annotations

import bisect
import math
from typing import Any, NamedTuple

import numpy as np

from dm0_ros.policy.protocol import Plan
from dm0_ros.policy.reasoning import ReasoningMode, Thought
from dm0_ros.policy.trace import Facts
from dm0_ros.replay.bag import read_messages
from dm0_ros.replay.layout import Layout
from dm0_ros.scaffold.places import box_iou, box_to_pixels, path_error, to_pixels
from dm0_ros.stamps import to_seconds

TOPIC = "scaffold"
_TYPE = "dm0_ros/msg/SpatialScaffold"
_APART = 0.05  # s: stamps of pictures that are the same one to whoever annotated the bag
TRUTH, LIVE = "truth", "live policy"
NOT_KNOWN = "not known"


class Likeness(NamedTuple):
    """Of one plan's text; NaN where there is nothing to compare."""

    valid: float  # 1 or 0; NaN where the plan has no text
    box_iou: float  # 0 of a text that is not valid or has no box where one is recorded
    path_error: float  # mean distance of points, as a share of the picture's width


class _Recorded(NamedTuple):
    width: int
    height: int
    box: np.ndarray | None  # (4,) pixels
    path: np.ndarray | None  # (n, 2) pixels, of one arm


class Scaffolds:
    """The scaffolds of a bag, by the stamps of their pictures. A few hundred bytes each.

    Those of the live policy say what it said. Of a bag whose policy did not reason, or that had
    none, they are somebody's annotation, and count as the truth.
    """

    def __init__(self, layout: Layout, facts: Facts | None) -> None:
        """``facts`` of the policy that was recorded, where that is known."""
        self._found: dict[float, _Recorded] = {}
        if layout.contents.topics.get(layout.name(TOPIC)) == _TYPE:
            for message in read_messages(layout.path, [layout.name(TOPIC)]):
                if message.content.valid:
                    content = message.content
                    self._found[to_seconds(content.header.stamp)] = _read(content)
        self._stamps = sorted(self._found)
        live = facts is not None and facts.reasoning != ReasoningMode.OFF.value
        self.source = (LIVE if live else TRUTH) if self._found else NOT_KNOWN

    def compare(self, plan: Plan) -> Likeness:
        """The text that a plan's actions saw, or that was refused, with the recorded one."""
        thought = plan.thought
        if thought is None:
            return Likeness(math.nan, math.nan, math.nan)
        recorded = self._find(thought.stamp)
        if recorded is None:
            return Likeness(float(thought.valid), math.nan, math.nan)
        return Likeness(
            float(thought.valid),
            _compare_boxes(thought, recorded),
            _compare_paths(thought, recorded),
        )

    def _find(self, stamp: float) -> _Recorded | None:
        """The one whose picture was taken at about that time."""
        place = bisect.bisect(self._stamps, stamp)
        near = self._stamps[max(place - 1, 0) : place + 1]
        nearest = min(near, key=lambda other: abs(other - stamp), default=math.inf)
        return self._found[nearest] if abs(nearest - stamp) <= _APART else None


def _read(message: Any) -> _Recorded:
    box = np.asarray(message.box, np.float64)
    path = np.asarray(message.trajectory, np.float64)
    path = path[: 2 * (len(path) // 2)].reshape(-1, 2)
    whole = len(path) > 0 and bool(np.isfinite(path).all())  # else those of several arms
    return _Recorded(
        int(message.width),
        int(message.height),
        box if np.isfinite(box).all() else None,
        path if whole else None,
    )


def _compare_boxes(thought: Thought, recorded: _Recorded) -> float:
    told = thought.scaffold.box if thought.scaffold else None
    if recorded.box is None and told is None:
        return math.nan
    if recorded.box is None or told is None:
        return 0.0
    return box_iou(box_to_pixels(told, recorded.width, recorded.height), recorded.box)


def _compare_paths(thought: Thought, recorded: _Recorded) -> float:
    paths = list(thought.scaffold.paths.values()) if thought.scaffold else []
    if recorded.path is None or len(paths) != 1:
        return math.nan
    told = to_pixels(paths[0], recorded.width, recorded.height)
    return path_error(told, recorded.path) / recorded.width
