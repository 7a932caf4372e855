# SPDX-License-Identifier: Apache-2.0
"""Drivers whose messages are not those of ros2_control: one small class for each kind."""

from collections.abc import Callable, Mapping

from rclpy.node import Node

from dm0_ros.nodes.adapters.arx import ArxDriver
from dm0_ros.nodes.adapters.driver import Driver
from dm0_ros.nodes.adapters.grippers import GripperDriver
from dm0_ros.nodes.adapters.interbotix import InterbotixDriver
from dm0_ros.nodes.adapters.joint_states import JointStateDriver
from dm0_ros.robots.adapter import Adapter, AdapterKind

__all__ = ["Driver", "make_driver"]


def make_driver(
    node: Node, adapter: Adapter, take: Callable[[Mapping[str, float]], None]
) -> Driver:
    """The driver that an adapter is for; ``take(values)`` gets what it reports, by its own names.

    Raises `RobotError` where its interfaces are not installed.
    """
    match adapter.kind:
        case AdapterKind.JOINT_STATE:
            return JointStateDriver(node, adapter, take)
        case AdapterKind.INTERBOTIX:
            return InterbotixDriver(node, adapter, take)
        case AdapterKind.ARX:
            return ArxDriver(node, adapter, take)
        case AdapterKind.GRIPPER_COMMAND | AdapterKind.PARALLEL_GRIPPER_COMMAND:
            return GripperDriver(node, adapter, take)
