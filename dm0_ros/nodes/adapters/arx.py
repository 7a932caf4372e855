# SPDX-License-Identifier: Apache-2.0
"""ARX's own controller of the X5 and L5 (arx_x5_controller): RobotCmd in, RobotStatus out."""

from collections.abc import Mapping

from rclpy.node import Node

from dm0_ros.nodes.adapters.driver import Take, find_message
from dm0_ros.nodes.quality import COMMAND, SENSOR
from dm0_ros.robots.adapter import Adapter

_PACKAGE = "arx5_arm_msg"
_REMEDY = "build ARX's workspace (ARXroboticsX/ARX_X5, folder ROS2) and source it"
_POSITION_CONTROL = 5  # RobotCmd.mode: joint positions


class ArxDriver:
    """Its arrays have no names: joints stand in the order of the YAML, the gripper behind them."""

    def __init__(self, node: Node, adapter: Adapter, take: Take) -> None:
        self._kind = find_message(_PACKAGE, "RobotCmd", _REMEDY)
        status = find_message(_PACKAGE, "RobotStatus", _REMEDY)
        self._node, self._take = node, take
        self._joints = tuple(adapter.joints.values())
        self._gripper = adapter.gripper.driver if adapter.gripper else ""
        node.create_subscription(status, adapter.states, self._hear, SENSOR)
        self._publisher = node.create_publisher(self._kind, adapter.commands, COMMAND)

    def _hear(self, message) -> None:
        names = (*self._joints, self._gripper)
        self._take(dict(zip(names, map(float, message.joint_pos), strict=False)))

    def send(self, values: Mapping[str, float]) -> None:
        """See `Driver`."""
        message = self._kind(mode=_POSITION_CONTROL)
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.joint_pos = [float(values[name]) for name in self._joints]
        message.gripper = float(values.get(self._gripper, 0.0))
        self._publisher.publish(message)
