# SPDX-License-Identifier: Apache-2.0
"""The `overlay` node: what the robot says and is about to do, in its pictures and as markers."""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image
from visualization_msgs.msg import MarkerArray

from dm0_ros.control.tool_path import ToolPaths
from dm0_ros.errors import Dm0Error, ObservationError, PlanError
from dm0_ros.msg import ActionChunk, ExecutorStatus, SpatialScaffold
from dm0_ros.nodes.lifecycle import run_node
from dm0_ros.nodes.markers import MarkerMaker
from dm0_ros.nodes.parameters import declare
from dm0_ros.nodes.pictures import find_camera_topic, image_from_picture
from dm0_ros.nodes.quality import COMMAND, SENSOR, STATUS
from dm0_ros.nodes.stamps import read_clock, to_seconds
from dm0_ros.policy.protocol import Plan
from dm0_ros.policy.wire import read_plan
from dm0_ros.robots.cameras import Projection, find_still
from dm0_ros.robots.description import find_root, load_urdf
from dm0_ros.robots.loading import load_robot
from dm0_ros.robots.spec import RobotSpec
from dm0_ros.scaffold.drawing import draw_box, draw_caption, draw_path, draw_waypoints, enlarge
from dm0_ros.scaffold.lifting import Lifted, lift_sketch
from dm0_ros.scaffold.relevance import Relevance
from dm0_ros.scaffold.sketch import Sketch
from dm0_ros.sim.world import load_world

_AGE_TOLD = 1.0  # s: the age of younger scaffolds is nobody's concern
_STATES = {
    getattr(ExecutorStatus, name): name
    for name in ("IDLE", "APPROACH", "EXECUTING", "STARVED", "HOLD", "FAULT")
}


@dataclass
class _View:
    """A camera whose pictures are drawn on."""

    slot: str
    decode: Callable
    projection: Projection | None
    publisher: object
    drawn: float = field(default=-math.inf)  # stamp of the picture drawn last


class OverlayNode(Node):
    """Follows the newest plan and scaffold; draws when a picture comes."""

    def __init__(self) -> None:
        super().__init__("overlay")
        robot = declare(self, "robot", "franka", "Robot: a name in config/, or a YAML's path")
        compressed = declare(self, "compressed", False, "Subscribe to JPEG pictures")
        rate = declare(self, "rate", 10.0, "Most pictures a second, each camera (Hz)", (0.1, 60.0))
        self._width = declare(
            self, "width", 400, "Pictures narrower than this are doubled (pixels)", (1, 4096)
        )
        self._oldest = declare(
            self, "scaffold_timeout", 10.0, "Older scaffolds are not drawn (s)", (0.1, 3600.0)
        )
        height = declare(
            self, "table_height", math.nan, "Of what goals lie on (m); NaN: the simulated table's"
        )
        self._period = 1.0 / rate
        self._spec = load_robot(robot)
        self._tools = ToolPaths(self._spec)
        self._maker = MarkerMaker(self._tools.frame, len(self._spec.end_effectors), self._oldest)
        self._height = height if math.isfinite(height) else self._find_table()
        self._chunk: ActionChunk | None = None
        self._paths = np.empty((0, 0, 3))
        self._plan: Plan | None = None
        self._sketch: Sketch | None = None
        self._sketched = -math.inf  # s: stamp of the picture that the scaffold is about
        self._relevance = Relevance()
        self._status = ExecutorStatus()
        self._projections = find_still(self._spec, self._tools.frame)
        self._open(compressed)

    def _find_table(self) -> float:
        """Height of the table of the robot's own world, m; NaN where there is none."""
        try:
            if self._spec.simulation is None:
                raise Dm0Error(f"{self._spec.name}: its YAML has no 'simulation' section")
            return load_world(self._spec.simulation.world).table.top
        except Dm0Error as error:
            self.get_logger().warning(
                f"goals get no markers: no table is known ({error}); set table_height"
            )
            return math.nan

    def _open(self, compressed: bool) -> None:
        self._markers = self.create_publisher(MarkerArray, "overlay/markers", COMMAND)
        self.create_subscription(ActionChunk, "action_chunk", self._take_chunk, COMMAND)
        self.create_subscription(SpatialScaffold, "scaffold", self._take_scaffold, COMMAND)
        self.create_subscription(ExecutorStatus, "executor_status", self._take_status, STATUS)
        for slot in drawn_slots(self._spec):
            publisher = self.create_publisher(Image, f"overlay/{slot}/image", SENSOR)
            kind, topic, decode = find_camera_topic(slot, compressed)
            view = _View(slot, decode, self._projections.get(slot), publisher)
            self.create_subscription(kind, topic, partial(self._take_picture, view), SENSOR)

    def _take_status(self, message: ExecutorStatus) -> None:
        if message.epoch > self._status.epoch:
            self._relevance.reset(to_seconds(message.header.stamp))
            self._drop_scaffold(message)
        self._status = message
        if self._chunk is not None and self._chunk.epoch < message.epoch:
            # A reset voids older plans: what they wanted is not what the robot will do.
            self._chunk = self._plan = None

    def _take_chunk(self, message: ActionChunk) -> None:
        try:
            plan = read_plan(message)
            paths = self._tools.find(plan)
        except PlanError as error:
            self.get_logger().warning(f"not drawn: {error}", throttle_duration_sec=5.0)
            return
        self._relevance.follow(message.instruction, plan.start)
        if not self._relevance.covers(self._sketched):
            self._drop_scaffold(message)
        self._chunk, self._plan, self._paths = message, plan, paths
        self._markers.publish(self._maker.show_plan(message.header.stamp, paths, plan.step))

    def _drop_scaffold(self, cause: ActionChunk | ExecutorStatus) -> None:
        """Show the newest one no longer, because of a message."""
        if self._sketch is not None:
            self._sketch = None
            self._markers.publish(self._maker.clear(cause.header.stamp))

    def _take_scaffold(self, message: SpatialScaffold) -> None:
        sketch, stamp = Sketch.of(message), message.header.stamp
        if not self._relevance.covers(to_seconds(stamp)):
            return
        self._sketch, self._sketched = sketch, to_seconds(stamp)
        if self._is_stale(read_clock(self.get_clock())):
            self.get_logger().warning(
                "not drawn: a scaffold came later than scaffold_timeout", throttle_duration_sec=5.0
            )
            markers = self._maker.clear(stamp)
        elif sketch.refusal:
            markers = self._maker.show_refusal(stamp, f"scaffold refused: {sketch.refusal}")
        else:
            markers = self._maker.show_scaffold(stamp, sketch.subtask, self._lift(sketch))
        self._markers.publish(markers)

    def _lift(self, sketch: Sketch) -> Lifted:
        projection = self._projections.get(sketch.view)
        if projection is None or math.isnan(self._height):
            reason = (
                "no table_height" if projection else "its YAML gives that camera no fixed pose"
            )
            self.get_logger().warning(
                f"goals in view '{sketch.view}' get no markers: {reason}",
                throttle_duration_sec=60.0,
            )
            return Lifted(None, ())
        return lift_sketch(sketch, projection, self._height)

    def _is_stale(self, now: float) -> bool:
        return now - self._sketched > self._oldest

    def _take_picture(self, view: _View, message) -> None:
        stamp = to_seconds(message.header.stamp)
        # A clock that was set back must not stop the drawing.
        if 0.0 <= stamp - view.drawn < self._period * 0.9:
            return
        if not view.publisher.get_subscription_count():
            return
        try:
            picture = view.decode(message)
        except ObservationError as error:
            self.get_logger().error(str(error), throttle_duration_sec=5.0)
            return
        view.drawn = stamp
        drawn = image_from_picture(self._draw(picture, view))
        drawn.header = message.header
        view.publisher.publish(drawn)

    def _draw(self, picture: np.ndarray, view: _View) -> np.ndarray:
        large, factor = enlarge(picture, self._width)
        now, thickness = read_clock(self.get_clock()), max(2, factor)
        if view.projection is not None and self._plan is not None:
            scale = factor * picture.shape[1] / view.projection.width
            for path in self._paths[:, self._due(now) :]:
                draw_path(large, view.projection.project(path) * scale, thickness)
        sketch = self._sketch
        if sketch is not None and sketch.view == view.slot and not self._is_stale(now):
            sketch = sketch.scale_to(large.shape[1], large.shape[0])
            if sketch.box is not None:
                draw_box(large, sketch.box, thickness)
            for path in sketch.paths:
                draw_waypoints(large, path, thickness)
        return draw_caption(large, self._captions(now), size=max(12, large.shape[1] // 28))

    def _due(self, now: float) -> int:
        """The row that is due now; one more than there are when the plan is over."""
        passed = int((now - self._plan.start) / self._plan.step)
        return min(max(passed, 0), self._paths.shape[1])

    def _captions(self, now: float) -> list[str]:
        state = _STATES.get(self._status.state, "?")
        said = [] if self._sketch is None else [self._describe(self._sketch, now)]
        if self._plan is None:
            return ["no plan yet", *said, state]
        words = [state, f"plan {max(now - self._plan.start, 0.0):.1f} s old"]
        if np.isfinite(self._plan.progress):
            words.insert(1, f"progress {self._plan.progress:.0%}")
        return [self._chunk.instruction, *said, "   ".join(words)]

    def _describe(self, sketch: Sketch, now: float) -> str:
        age = now - self._sketched
        if self._is_stale(now):
            return f"scaffold of {age:.0f} s ago not drawn"
        if sketch.refusal:
            return f"scaffold refused: {sketch.refusal}"
        old = f" ({age:.0f} s ago)" if age > _AGE_TOLD else ""
        return f"subtask: {sketch.subtask}{old}"


def drawn_slots(spec: RobotSpec) -> list[str]:
    """Cameras whose pictures are drawn on: all but those that a moving link is known to carry.

    A camera that moves with the arm sees nothing of the path.
    """
    known = spec.simulation.cameras if spec.simulation else {}
    still = (None, find_root(load_urdf(spec)))
    return [slot for slot in spec.camera_slots if slot not in known or known[slot].link in still]


def main() -> int:
    """Run the node until SIGINT or SIGTERM."""
    return run_node(OverlayNode)


if __name__ == "__main__":
    sys.exit(main())
