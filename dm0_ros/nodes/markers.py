# SPDX-License-Identifier: Apache-2.0
"""Markers for RViz and its like: where a plan takes the tools, and what a scaffold marks."""

from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from dm0_ros.nodes.stamps import to_duration
from dm0_ros.scaffold.drawing import BOX_COLOUR, PATH_COLOUR, horizon_colours
from dm0_ros.scaffold.lifting import Lifted

_LINE_WIDTH = 0.006  # m
_TEXT_SIZE = 0.05  # m: height of a capital letter
_TEXT_ABOVE = 0.15  # m between a goal and the words over it
_TEXT_PLACE = (0.0, 0.0, 1.0)  # m: over the robot, where no goal was lifted
_FAINTEST = 0.3  # opacity of a plan's end
_WHITE, _RED = (255, 255, 255), (255, 80, 60)


class MarkerMaker:
    """Makes markers in one frame; those of a scaffold vanish after ``lifetime`` s."""

    def __init__(self, frame: str, arms: int, lifetime: float) -> None:
        self._frame, self._arms, self._lifetime = frame, arms, lifetime

    def show_plan(self, stamp: Time, paths: np.ndarray, step: float) -> MarkerArray:
        """Paths (A, H, 3) m as lines that fade towards their ends, for as long as they last."""
        markers = [self._draw_plan(n, stamp, path, step) for n, path in enumerate(paths)]
        return MarkerArray(markers=markers)

    def show_scaffold(self, stamp: Time, words: str, lifted: Lifted) -> MarkerArray:
        """The goal's edges and the told paths, and what the robot does now, in words."""
        goal = [] if lifted.box is None else [np.concatenate([lifted.box, lifted.box[:1]])]
        place = _TEXT_PLACE
        if goal:
            x, y, z = lifted.box.mean(axis=0).tolist()
            place = (x, y, z + _TEXT_ABOVE)
        markers = [
            *self._draw_lines("goal", stamp, goal, 1, BOX_COLOUR),
            *self._draw_lines("path", stamp, lifted.paths, self._arms, PATH_COLOUR),
            self._write(stamp, words, place, _WHITE),
        ]
        return MarkerArray(markers=markers)

    def show_refusal(self, stamp: Time, words: str) -> MarkerArray:
        """A plain note in place of goal and paths."""
        markers = [*self.clear(stamp).markers[:-1], self._write(stamp, words, _TEXT_PLACE, _RED)]
        return MarkerArray(markers=markers)

    def clear(self, stamp: Time) -> MarkerArray:
        """Nothing of a scaffold any more; its words come last."""
        removed = [("goal", 0), *(("path", n) for n in range(self._arms)), ("subtask", 0)]
        markers = [self._make(name, n, stamp, action=Marker.DELETE) for name, n in removed]
        return MarkerArray(markers=markers)

    def _draw_plan(self, number: int, stamp: Time, path: np.ndarray, step: float) -> Marker:
        marker = self._make("plan", number, stamp, type=Marker.LINE_STRIP)
        marker.lifetime = to_duration(step * len(path))
        marker.scale.x = _LINE_WIDTH
        marker.points = _points(path)
        fading = np.linspace(1.0, _FAINTEST, len(path)).tolist()
        colours = horizon_colours(len(path)).tolist()
        pairs = zip(colours, fading, strict=True)
        marker.colors = [_colour(colour, opacity) for colour, opacity in pairs]
        return marker

    def _draw_lines(
        self, name: str, stamp: Time, lines: Sequence[np.ndarray], most: int, colour
    ) -> list[Marker]:
        """A line strip for each line; markers of earlier lines, up to ``most``, are removed."""
        markers = []
        for number in range(max(most, len(lines))):
            marker = self._make(name, number, stamp, type=Marker.LINE_STRIP)
            if number >= len(lines) or len(lines[number]) < 2:
                marker.action = Marker.DELETE
            else:
                marker.lifetime = to_duration(self._lifetime)
                marker.scale.x = _LINE_WIDTH
                marker.points = _points(lines[number])
                marker.color = _colour(colour, 1.0)
            markers.append(marker)
        return markers

    def _write(self, stamp: Time, words: str, place: Sequence[float], colour) -> Marker:
        marker = self._make("subtask", 0, stamp, type=Marker.TEXT_VIEW_FACING)
        marker.lifetime = to_duration(self._lifetime)
        marker.scale.z = _TEXT_SIZE
        marker.color = _colour(colour, 1.0)
        x, y, z = place
        marker.pose.position = Point(x=x, y=y, z=z)
        marker.text = words
        return marker

    def _make(self, name: str, number: int, stamp: Time, **fields) -> Marker:
        marker = Marker(ns=name, id=number, **{"action": Marker.ADD, **fields})
        marker.header.stamp = stamp
        marker.header.frame_id = self._frame
        marker.pose.orientation.w = 1.0
        return marker


def _points(path: np.ndarray) -> list[Point]:
    return [Point(x=x, y=y, z=z) for x, y, z in path.tolist()]


def _colour(rgb: Sequence[float], opacity: float) -> ColorRGBA:
    red, green, blue = (float(part) / 255.0 for part in rgb)
    return ColorRGBA(r=red, g=green, b=blue, a=opacity)
