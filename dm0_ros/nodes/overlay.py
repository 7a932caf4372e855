# SPDX-License-Identifier: Apache-2.0
"""The `overlay` node: what the robot is about to do, drawn on its pictures and as markers."""

import sys
from collections.abc import Callable
from functools import partial

import numpy as np
from geometry_msgs.msg import Point
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from dm0_ros.errors import ObservationError, PlanError
from dm0_ros.msg import ActionChunk, ExecutorStatus
from dm0_ros.nodes.lifecycle import run_node
from dm0_ros.nodes.messages import plan_from_chunk, read_chunk
from dm0_ros.nodes.parameters import declare
from dm0_ros.nodes.pictures import find_camera_topic, image_from_picture
from dm0_ros.nodes.quality import COMMAND, SENSOR, STATUS
from dm0_ros.nodes.stamps import read_clock, to_duration, to_seconds
from dm0_ros.nodes.tool_path import ToolPaths
from dm0_ros.policy.protocol import Plan
from dm0_ros.robots.cameras import Projection
from dm0_ros.robots.loading import load_robot
from dm0_ros.scaffold.drawing import draw_caption, draw_path, enlarge, horizon_colours

_LINE_WIDTH = 0.006  # m
_STATES = {
    getattr(ExecutorStatus, name): name
    for name in ("IDLE", "APPROACH", "EXECUTING", "STARVED", "HOLD", "FAULT")
}


class OverlayNode(Node):
    """Follows the newest plan; draws when a picture comes."""

    def __init__(self) -> None:
        super().__init__("overlay")
        robot = declare(self, "robot", "franka", "Robot: a name in config/, or a YAML's path")
        compressed = declare(self, "compressed", False, "Subscribe to JPEG pictures")
        rate = declare(self, "rate", 10.0, "Most pictures a second, each camera (Hz)", (0.1, 60.0))
        self._width = declare(
            self, "width", 400, "Pictures narrower than this are doubled (pixels)", (1, 4096)
        )
        self._period = 1.0 / rate
        self._spec = load_robot(robot)
        self._tools = ToolPaths(self._spec)
        self._chunk: ActionChunk | None = None
        self._paths = np.empty((0, 0, 3))
        self._plan: Plan | None = None
        self._status = ExecutorStatus()
        self._drawn: dict[str, float] = {}  # slot -> stamp of the picture drawn last
        self._open(compressed)

    def _open(self, compressed: bool) -> None:
        self._markers = self.create_publisher(MarkerArray, "overlay/markers", COMMAND)
        self.create_subscription(ActionChunk, "action_chunk", self._take_chunk, COMMAND)
        self.create_subscription(ExecutorStatus, "executor_status", self._take_status, STATUS)
        known = self._spec.simulation.cameras if self._spec.simulation else {}
        for slot in self._spec.camera_slots:
            camera = known.get(slot)
            if camera and camera.link not in (None, self._tools.frame):
                continue  # moves with the arm: nothing to see of the path there
            projection = Projection.of(camera) if camera else None
            publisher = self.create_publisher(Image, f"overlay/{slot}/image", SENSOR)
            kind, topic, decode = find_camera_topic(slot, compressed)
            take = partial(self._take_picture, slot, decode, projection, publisher)
            self.create_subscription(kind, topic, take, SENSOR)

    def _take_status(self, message: ExecutorStatus) -> None:
        self._status = message
        if self._chunk is not None and self._chunk.epoch < message.epoch:
            # A reset voids older plans: what they wanted is not what the robot will do.
            self._chunk = self._plan = None

    def _take_chunk(self, message: ActionChunk) -> None:
        try:
            plan = plan_from_chunk(message)
            paths = self._tools.find(read_chunk(message))
        except PlanError as error:
            self.get_logger().warning(f"not drawn: {error}", throttle_duration_sec=5.0)
            return
        self._chunk, self._plan, self._paths = message, plan, paths
        markers = [self._make_marker(n, message, plan, path) for n, path in enumerate(paths)]
        self._markers.publish(MarkerArray(markers=markers))

    def _make_marker(
        self, number: int, message: ActionChunk, plan: Plan, path: np.ndarray
    ) -> Marker:
        marker = Marker(ns="plan", id=number, type=Marker.LINE_STRIP, action=Marker.ADD)
        marker.header.stamp = message.header.stamp
        marker.header.frame_id = self._tools.frame
        marker.lifetime = to_duration(plan.step * len(path))
        marker.pose.orientation.w = 1.0
        marker.scale.x = _LINE_WIDTH
        marker.points = [Point(x=x, y=y, z=z) for x, y, z in path.tolist()]
        colours = (horizon_colours(len(path)) / 255.0).tolist()
        fading = np.linspace(1.0, 0.3, len(path)).tolist()
        marker.colors = [
            ColorRGBA(r=r, g=g, b=b, a=a) for (r, g, b), a in zip(colours, fading, strict=True)
        ]
        return marker

    def _take_picture(
        self,
        slot: str,
        decode: Callable,
        projection: Projection | None,
        publisher,
        message,
    ) -> None:
        stamp = to_seconds(message.header.stamp)
        # A clock that was set back must not stop the drawing.
        if 0.0 <= stamp - self._drawn.get(slot, -np.inf) < self._period * 0.9:
            return
        if not publisher.get_subscription_count():
            return
        try:
            picture = decode(message)
        except ObservationError as error:
            self.get_logger().error(str(error), throttle_duration_sec=5.0)
            return
        self._drawn[slot] = stamp
        drawn = image_from_picture(self._draw(picture, projection))
        drawn.header = message.header
        publisher.publish(drawn)

    def _draw(self, picture: np.ndarray, projection: Projection | None) -> np.ndarray:
        large, factor = enlarge(picture, self._width)
        now = read_clock(self.get_clock())
        if projection is not None and self._plan is not None:
            scale = factor * picture.shape[1] / projection.width
            for path in self._paths[:, self._due(now) :]:
                draw_path(large, projection.project(path) * scale, thickness=max(2, factor))
        return draw_caption(large, self._captions(now), size=max(12, large.shape[1] // 28))

    def _due(self, now: float) -> int:
        """The row that is due now; one more than there are when the plan is over."""
        passed = int((now - self._plan.start) / self._plan.step)
        return min(max(passed, 0), self._paths.shape[1])

    def _captions(self, now: float) -> list[str]:
        state = _STATES.get(self._status.state, "?")
        if self._plan is None:
            return ["no plan yet", state]
        words = [state, f"plan {max(now - self._plan.start, 0.0):.1f} s old"]
        if np.isfinite(self._plan.progress):
            words.insert(1, f"progress {self._plan.progress:.0%}")
        return [self._chunk.instruction, "   ".join(words)]


def main() -> int:
    """Run the node until SIGINT or SIGTERM."""
    return run_node(OverlayNode)


if __name__ == "__main__":
    sys.exit(main())
