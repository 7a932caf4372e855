# SPDX-License-Identifier: Apache-2.0
"""Drivers that are told by JointState what they report by JointState: AgileX's piper_ros."""

from collections.abc import Mapping

from rclpy.node import Node
from sensor_msgs.msg import JointState

from dm0_ros.nodes.adapters.driver import Take, hear_joint_states
from dm0_ros.nodes.quality import COMMAND
from dm0_ros.robots.adapter import Adapter


class JointStateDriver:
    """Every command has all joints: piper_ros takes a joint that is not named for zero."""

    def __init__(self, node: Node, adapter: Adapter, take: Take) -> None:
        self._node = node
        hear_joint_states(node, adapter.states, take)
        self._publisher = (
            node.create_publisher(JointState, adapter.commands, COMMAND)
            if adapter.commands
            else None
        )

    def send(self, values: Mapping[str, float]) -> None:
        """See `Driver`."""
        if self._publisher is None:
            return
        message = JointState(name=list(values), position=list(values.values()))
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
