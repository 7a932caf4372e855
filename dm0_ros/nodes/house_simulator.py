# SPDX-License-Identifier: Apache-2.0
"""The `house_simulator` node: a base in a house on the topics of a real base and its camera.

Motion and pictures share one thread, paced by the monotonic clock, because an EGL context belongs
to one thread.
"""

import sys
import threading
import time

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import Trigger

from dm0_ros.errors import Dm0Error, RobotError
from dm0_ros.nodes.bases import (
    Frames,
    image_from_depth,
    make_odometry,
    make_transform,
    subscribe_velocities,
)
from dm0_ros.nodes.lifecycle import run_node
from dm0_ros.nodes.pacing import Pacer
from dm0_ros.nodes.parameters import declare
from dm0_ros.nodes.pictures import compressed_from_picture, image_from_picture
from dm0_ros.nodes.quality import SENSOR
from dm0_ros.nodes.stamps import read_clock, to_time
from dm0_ros.robots.loading import load_robot
from dm0_ros.sim.house_simulator import HouseSimulator, open_place
from dm0_ros.sim.live import CameraTurns

_RATE = 50.0  # Hz of odometry, as diff_drive_controller's
_PATIENCE = 0.25  # s of delay that one tick makes up for
_END_TIMEOUT = 5.0  # s
_REPORT_PERIOD = 1.0  # s between looks at the motion's thread
_MAP = "map"


class HouseSimulatorNode(Node):
    """Moves the base, publishes odometry, pictures and transforms; obeys cmd_vel."""

    def __init__(self) -> None:
        super().__init__("house_simulator")
        self._read_parameters()
        self._lock = threading.Lock()  # held by whoever touches the simulator
        place = open_place(self._world, self._spec.base.radius)
        self._simulator = HouseSimulator(self._spec, place, self._seed)
        self._episode = 1
        self._complaint = ""
        self._simulated = 0.0  # s since the start, over all resets
        self._deadline: float | None = None
        self._turns = CameraTurns(list(self._spec.simulation.cameras), self._camera_rate)
        self._make_publishers()
        subscribe_velocities(self, self._spec.base, "cmd_vel", self._obey)
        self.create_service(Trigger, "~/reset", self._reset)
        self.create_timer(_REPORT_PERIOD, self._watch)
        self._ending, self._ended = threading.Event(), threading.Event()
        self._failure: Exception | None = None
        self._pacer = Pacer(_RATE, self._step, self._break_down)
        self._pacer.start()
        self.get_logger().info(
            f"simulating {self._spec.title} in '{self._world}', seed {self._seed}"
        )

    def stop(self) -> None:
        """End the motion's thread, which closes the cameras that it opened."""
        self._ending.set()
        self._ended.wait(_END_TIMEOUT)
        self._pacer.stop()

    def _read_parameters(self) -> None:
        robot = declare(
            self, "robot", "mobile_base", "Robot: a name in config/, or a YAML", read_only=True
        )
        self._spec = load_robot(robot)
        if self._spec.base is None or self._spec.simulation is None:
            raise RobotError(f"{robot}: its YAML lacks a 'base' or a 'simulation' section")
        world = declare(
            self, "world", "", "In config/worlds/, or habitat:FILE; empty: the robot's own"
        )
        self._world = world or self._spec.simulation.world
        self._seed = declare(self, "seed", 0, "Seed of the sequence of starts", (0, 2**31 - 1))
        own = self._spec.simulation.camera_rate
        self._camera_rate = declare(
            self, "camera_rate", own, "Pictures a second, each camera (Hz)", (0.1, 120.0)
        )
        self._compressed = declare(self, "compressed", False, "JPEG instead of raw pictures")
        self._quality = declare(self, "jpeg_quality", 90, "Quality of the JPEG pictures", (1, 100))
        self._wants_depth = declare(self, "depth", True, "Publish depth pictures (32FC1, m)")
        self._publishes_clock = declare(
            self, "publish_clock", False, "Publish simulated time on /clock and use it for stamps"
        )

    def _make_publishers(self) -> None:
        self._odometry = self.create_publisher(Odometry, "odom", SENSOR)
        self._truth = self.create_publisher(Odometry, "simulator/ground_truth", SENSOR)
        self._frames = Frames(self)
        kind = CompressedImage if self._compressed else Image
        ending = "compressed" if self._compressed else "image_raw"
        slots = self._spec.simulation.cameras
        self._pictures = {
            slot: self.create_publisher(kind, f"camera/{slot}/{ending}", SENSOR) for slot in slots
        }
        self._depths = {
            slot: self.create_publisher(Image, f"camera/{slot}/depth", SENSOR)
            for slot in slots
            if self._wants_depth
        }
        self._clock_publisher = (
            self.create_publisher(Clock, "/clock", SENSOR) if self._publishes_clock else None
        )

    def _obey(self, velocities: np.ndarray) -> None:
        try:
            with self._lock:
                self._simulator.command(velocities)
        except RobotError as error:
            # Commands come twenty times a second: the same sentence is said once.
            if self._complaint != str(error):
                self.get_logger().error(f"cmd_vel: {error}")
            self._complaint = str(error)
        else:
            self._complaint = ""

    def _step(self, deadline: float) -> None:
        """One tick of the motion's thread."""
        if self._ending.is_set():
            if not self._ended.is_set():
                self._simulator.close()
                self._ended.set()
            return
        if self._deadline is None:
            for slot in self._spec.simulation.cameras:
                self._simulator.look(slot, self._wants_depth)  # the first takes many times longer
            self._deadline = time.monotonic()
            return
        passed, self._deadline = max(deadline - self._deadline, 0.0), max(deadline, self._deadline)
        with self._lock:
            self._simulator.step(min(passed, _PATIENCE))
            self._simulated += min(passed, _PATIENCE)
            stamp = self._now()
            self._publish_motion(stamp)
            slot = self._turns.due(self._simulated)
            view = self._simulator.look(slot, self._wants_depth) if slot else None
        if self._clock_publisher:
            self._clock_publisher.publish(Clock(clock=to_time(stamp)))
        if view:
            self._publish_view(slot, view, stamp)

    def _publish_motion(self, stamp: float) -> None:
        base, odometry = self._spec.base, self._simulator.odometry()
        odom, body = base.odometry_frame, base.frame
        message = make_odometry(odometry.pose, odometry.twist, stamp, odom, body)
        self._odometry.publish(message)
        truth = self._simulator.pose
        self._truth.publish(make_odometry(truth, odometry.twist, stamp, _MAP, body))
        self._frames.publish(
            make_transform(self._simulator.start, stamp, _MAP, odom),
            make_transform(odometry.pose, stamp, odom, body),
        )

    def _publish_view(self, slot: str, view, stamp: float) -> None:
        if self._compressed:
            message = compressed_from_picture(view.colour, self._quality)
        else:
            message = image_from_picture(view.colour)
        messages = [(self._pictures[slot], message)]
        if view.depth is not None:
            messages.append((self._depths[slot], image_from_depth(view.depth)))
        for publisher, picture in messages:
            picture.header.stamp = to_time(stamp)
            picture.header.frame_id = f"camera_{slot}_optical"
            publisher.publish(picture)

    def _reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self._lock:
            self._simulator.reset()
            self._episode += 1
        response.success = True
        response.message = f"start {self._episode} of seed {self._seed}"
        self.get_logger().info(f"reset: {response.message}")
        return response

    def _now(self) -> float:
        return self._simulated if self._publishes_clock else read_clock(self.get_clock())

    def _break_down(self, error: Exception) -> None:
        self._failure = error
        self._ended.set()

    def _watch(self) -> None:
        if self._failure:
            raise Dm0Error(f"the motion's thread ended: {self._failure!r}") from self._failure


def main() -> int:
    """Run the node until SIGINT or SIGTERM."""
    return run_node(HouseSimulatorNode)


if __name__ == "__main__":
    sys.exit(main())
