# SPDX-License-Identifier: Apache-2.0
"""Simulated cameras on the topics of real ones: pictures in turn, their geometry, and depth."""

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from dm0_ros.navigation.views import View
from dm0_ros.nodes.bases import image_from_depth
from dm0_ros.nodes.parameters import declare
from dm0_ros.nodes.pictures import (
    compressed_from_picture,
    find_camera_topic,
    image_from_picture,
)
from dm0_ros.nodes.quality import SENSOR
from dm0_ros.robots.cameras import Projection
from dm0_ros.robots.simulation import SimulatedCamera, Simulation
from dm0_ros.sim.live import CameraTurns


class CameraTopics:
    """The cameras of a robot's YAML; declares the parameters of their pictures."""

    def __init__(self, node: Node, simulation: Simulation, wants_depth: bool) -> None:
        rate = declare(
            node,
            "camera_rate",
            simulation.camera_rate,
            "Pictures a second, each camera (Hz)",
            (0.1, 120.0),
        )
        compressed = "Publish JPEG instead of raw pictures"
        self._compressed = declare(node, "compressed", False, compressed)
        self._quality = declare(node, "jpeg_quality", 90, "Quality of the JPEG pictures", (1, 100))
        self._turns = CameraTurns(list(simulation.cameras), rate)
        self._pictures, self._depths, self._infos = {}, {}, {}
        self._geometry = {slot: describe_camera(c) for slot, c in simulation.cameras.items()}
        for slot in simulation.cameras:
            topic = f"camera/{slot}/camera_info"
            self._infos[slot] = node.create_publisher(CameraInfo, topic, SENSOR)
            kind, topic, _ = find_camera_topic(slot, self._compressed)
            self._pictures[slot] = node.create_publisher(kind, topic, SENSOR)
            if wants_depth:
                self._depths[slot] = node.create_publisher(Image, f"camera/{slot}/depth", SENSOR)

    def due(self, time_: float) -> str | None:
        """The camera whose turn it is at ``time_`` s, if any; see `CameraTurns`."""
        return self._turns.due(time_)

    def publish(self, slot: str, view: View, stamp: Time) -> None:
        """Send what a camera saw."""
        if self._compressed:
            message = compressed_from_picture(view.colour, self._quality)
        else:
            message = image_from_picture(view.colour)
        messages = [(self._infos[slot], self._geometry[slot]), (self._pictures[slot], message)]
        if slot in self._depths:
            messages.append((self._depths[slot], image_from_depth(view.depth)))
        for publisher, message in messages:
            message.header.stamp = stamp
            message.header.frame_id = f"camera_{slot}_optical"
            publisher.publish(message)


def describe_camera(camera: SimulatedCamera) -> CameraInfo:
    """A pinhole without distortion, already rectified; the caller fills the header."""
    matrix = Projection.of(camera).matrix
    info = CameraInfo(width=camera.width, height=camera.height, distortion_model="plumb_bob")
    info.d = [0.0] * 5
    info.k = matrix.ravel().tolist()
    info.r = np.eye(3).ravel().tolist()
    info.p = np.column_stack([matrix, np.zeros(3)]).ravel().tolist()
    return info
