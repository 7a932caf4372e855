# SPDX-License-Identifier: Apache-2.0
"""The sensors of a robot, as a test wants them: whole, silent, shuffled or broken."""

import math

import numpy as np
from sensor_msgs.msg import CompressedImage, Image, JointState

from dm0_ros.nodes.pictures import compressed_from_picture, image_from_picture
from dm0_ros.nodes.quality import SENSOR

_PERIOD = 0.05  # s


class Sensors:
    """Publishes pictures and joint states of a robot at home, while the graph spins."""

    def __init__(self, graph, spec, compressed=False) -> None:
        self._node = graph.node
        self._spec = spec
        self.heal()
        self._compressed = compressed
        kind, ending = (CompressedImage, "compressed") if compressed else (Image, "image_raw")
        self._cameras = {
            slot: graph.node.create_publisher(kind, f"camera/{slot}/{ending}", SENSOR)
            for slot in spec.camera_slots
        }
        self._joints = graph.node.create_publisher(JointState, "joint_states", SENSOR)
        graph.node.create_timer(_PERIOD, self._publish)

    def heal(self) -> None:
        """Everything speaks, and says what is right."""
        self.positions = dict(self._spec.home)
        for gripper in self._spec.grippers:
            self.positions[gripper.name] /= gripper.opening_per_joint
        self.silent: set[str] = set()  # camera slots or joint names that say nothing
        self.encoding = "rgb8"

    def break_joint(self, name: str) -> None:
        """Report NaN for a joint."""
        self.positions[name] = math.nan

    def shuffle(self) -> None:
        """Report the joints in another order."""
        self.positions = dict(sorted(self.positions.items(), reverse=True))

    def _publish(self) -> None:
        stamp = self._node.get_clock().now().to_msg()
        picture = np.full((32, 32, 3), 99, np.uint8)
        for slot, publisher in self._cameras.items():
            if slot not in self.silent:
                make = compressed_from_picture if self._compressed else image_from_picture
                message = make(picture)
                message.header.stamp = stamp
                if not self._compressed:
                    message.encoding = self.encoding
                publisher.publish(message)
        known = {n: p for n, p in self.positions.items() if n not in self.silent}
        message = JointState(name=list(known), position=list(known.values()))
        message.header.stamp = stamp
        self._joints.publish(message)
