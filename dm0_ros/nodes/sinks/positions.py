# SPDX-License-Identifier: Apache-2.0
"""Positions for a forward command controller, of an arm or of a gripper."""

from array import array
from collections.abc import Sequence

import numpy as np
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from dm0_ros.control import SetPoint
from dm0_ros.nodes.quality import COMMAND
from dm0_ros.nodes.sinks.output import Preview, find_listener
from dm0_ros.robots.spec import Sink


class ForwardPositions:
    """Float64MultiArray at every tick, in the order of the sink's names: rad, m of opening."""

    vital = False

    def __init__(self, node: Node, sink: Sink, names: Sequence[str]) -> None:
        self._node = node
        self._columns = np.array([names.index(name) for name in sink.names])
        self._publisher = node.create_publisher(Float64MultiArray, sink.topic, COMMAND)

    def publish(self, point: SetPoint, preview: Preview) -> None:
        """See `Output`."""
        data = array("d", point.positions[self._columns].tobytes())
        self._publisher.publish(Float64MultiArray(data=data))

    def rest(self) -> None:
        """The controller keeps the last positions."""

    def complaint(self) -> str:
        """See `Output`."""
        return find_listener(self._publisher)

    def close(self) -> None:
        """See `Output`."""
        self._node.destroy_publisher(self._publisher)
