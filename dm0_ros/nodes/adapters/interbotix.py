# SPDX-License-Identifier: Apache-2.0
"""interbotix_xs_sdk: a group of joints and single ones, each by a message of its own."""

from collections.abc import Mapping

from rclpy.node import Node

from dm0_ros.nodes.adapters.driver import Take, find_message, hear_joint_states
from dm0_ros.nodes.quality import COMMAND
from dm0_ros.robots.adapter import Adapter

_PACKAGE = "interbotix_xs_msgs"
_REMEDY = "build Interbotix/interbotix_ros_core in your workspace and source it"
_GROUP = "arm"


class InterbotixDriver:
    """``commands`` is the folder of topics: ``<commands>/joint_group`` and ``/joint_single``.

    The group takes its joints in the order of the robot's mode file: waist to wrist_rotate.
    """

    def __init__(self, node: Node, adapter: Adapter, take: Take) -> None:
        self._group = find_message(_PACKAGE, "JointGroupCommand", _REMEDY)
        self._single = find_message(_PACKAGE, "JointSingleCommand", _REMEDY)
        self._joints = tuple(adapter.joints.values())
        self._gripper = adapter.gripper.driver if adapter.gripper else ""
        hear_joint_states(node, adapter.states, take)
        self._groups = node.create_publisher(
            self._group, f"{adapter.commands}/joint_group", COMMAND
        )
        self._singles = node.create_publisher(
            self._single, f"{adapter.commands}/joint_single", COMMAND
        )

    def send(self, values: Mapping[str, float]) -> None:
        """See `Driver`."""
        joints = [values[name] for name in self._joints]
        self._groups.publish(self._group(name=_GROUP, cmd=joints))
        if self._gripper:
            self._singles.publish(self._single(name=self._gripper, cmd=values[self._gripper]))
