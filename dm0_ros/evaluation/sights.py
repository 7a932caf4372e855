# SPDX-License-Identifier: Apache-2.0
"""What a policy saw at one moment, with the ways that its plan and the robot took drawn in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dm0_ros.control.tool_path import ToolPaths
from dm0_ros.errors import PlanError
from dm0_ros.evaluation.judging import Judged
from dm0_ros.policy.protocol import Plan
from dm0_ros.policy.reasoning import Thought
from dm0_ros.policy.wire import as_published
from dm0_ros.robots.cameras import find_still
from dm0_ros.robots.spec import RobotSpec
from dm0_ros.scaffold.drawing import draw_box, draw_path, draw_trail, draw_waypoints, enlarge
from dm0_ros.scaffold.places import box_to_pixels, to_pixels
from dm0_ros.scaffold.sketch import Sketch

_WIDTH = 400  # pixels: narrower pictures are doubled before they are drawn on


@dataclass(frozen=True, eq=False)
class Ways:
    """Where tools go in the frame of the robot's root, m; only rows that can be compared."""

    plan: np.ndarray  # (A, H, 3): all rows of the plan
    planned: np.ndarray  # (A, N, 3): its rows for which it is known what the robot did
    gone: np.ndarray  # (A, N, 3): where the robot was then


@dataclass(frozen=True, eq=False)
class Sight:
    """One picture."""

    slot: str
    picture: np.ndarray  # (height, width, 3) uint8 RGB
    note: str  # what is drawn in it, or why nothing is


class Sights:
    """Knows where a robot's tools and cameras are."""

    def __init__(self, robot: RobotSpec) -> None:
        self._tools = ToolPaths(robot) if robot.end_effectors else None
        cameras = robot.simulation.cameras if robot.simulation else {}
        self._projections = find_still(robot, self._tools.frame if self._tools else None)
        self._carried = set(cameras) - set(self._projections)

    def find_ways(self, judged: Judged) -> Ways | None:
        """None where plans of this kind take no tool anywhere."""
        plan = judged.step.plan
        known = np.isfinite(judged.actions).all(axis=1) & np.isfinite(judged.errors).any(axis=1)
        try:
            whole = self._find(plan, plan.values)
            gone = self._find(plan, judged.actions[known]) if known.any() else whole[:, :0]
        except PlanError:
            return None
        return Ways(whole, whole[:, known], gone)

    def _find(self, plan: Plan, values: np.ndarray) -> np.ndarray:
        if self._tools is None:
            raise PlanError("the robot has no end effector")
        plan = replace(plan, values=values)
        names, values = as_published(plan)
        return self._tools.find(replace(plan, names=names, values=values))

    def show(self, judged: Judged, ways: Ways | None, sketch: Sketch | None) -> list[Sight]:
        """Every picture of the observation, in its order; ``sketch`` of what actions were told."""
        return [
            self._draw(slot, picture, ways, sketch)
            for slot, picture in judged.step.observation.pictures.items()
        ]

    def _draw(self, slot: str, picture, ways: Ways | None, sketch: Sketch | None) -> Sight:
        projection = self._projections.get(slot)
        told = sketch is not None and sketch.view == slot and not sketch.refusal
        if (projection is None or ways is None) and not told:
            return Sight(slot, picture, self._say_why_not(slot, ways))
        large, factor = enlarge(picture, _WIDTH)
        thickness = max(2, factor)
        if projection is not None and ways is not None:
            scale = factor * picture.shape[1] / projection.width
            for path in ways.gone:
                draw_trail(large, projection.project(path) * scale, thickness)
            for path in ways.plan:
                draw_path(large, projection.project(path) * scale, thickness)
        if told:
            _draw_sketch(large, sketch, thickness)
        return Sight(slot, large, "")

    def _say_why_not(self, slot: str, ways: Ways | None) -> str:
        if ways is None:
            return "nothing is drawn: the plan says nothing of a tool's place"
        if slot in self._carried:
            return "as seen: this camera moves with the arm, so no way is drawn"
        return "as seen: the robot's YAML does not say where this camera is, so no way is drawn"


def _draw_sketch(picture: np.ndarray, sketch: Sketch, thickness: int) -> None:
    sketch = sketch.scale_to(picture.shape[1], picture.shape[0])
    if sketch.box is not None:
        draw_box(picture, sketch.box, thickness)
    for path in sketch.paths:
        draw_waypoints(picture, path, thickness)


def sketch_thought(thought: Thought) -> Sketch:
    """What to show of a text that a network wrote."""
    size = thought.width, thought.height
    scaffold = thought.scaffold
    if scaffold is None:
        return Sketch(thought.view, *size, "", None, (), thought.rejection or "no reason given")
    box = None if scaffold.box is None else np.array(box_to_pixels(scaffold.box, *size), float)
    paths = tuple(np.asarray(to_pixels(path, *size)) for path in scaffold.paths.values())
    return Sketch(thought.view, *size, scaffold.subtask, box, paths)
