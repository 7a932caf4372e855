# SPDX-License-Identifier: Apache-2.0
"""Grippers of another unit than metres, driven by an action: a Robotiq's knuckle in rad."""

import time
from collections.abc import Mapping

from rclpy.node import Node

from dm0_ros.nodes.adapters.driver import Take, hear_joint_states
from dm0_ros.nodes.sinks.goals import Goals, find_action
from dm0_ros.robots.adapter import Adapter, AdapterKind
from dm0_ros.robots.outputs import Sink, SinkKind

_INTERVAL = 0.1  # s between goals: drivers work one off at 10 to 30 Hz
_CHANGE = 0.01  # of the whole way: smaller changes are not told


class GripperDriver:
    """GripperCommand or ParallelGripperCommand, whenever the gripper has to move."""

    def __init__(self, node: Node, adapter: Adapter, take: Take) -> None:
        sink = Sink(SinkKind(adapter.kind.value), adapter.commands, (adapter.gripper.name,))
        self._parallel = adapter.kind is AdapterKind.PARALLEL_GRIPPER_COMMAND
        name = "ParallelGripperCommand" if self._parallel else "GripperCommand"
        self._kind = find_action(name, sink)
        self._joint = adapter.gripper.driver
        self._change = _CHANGE * abs(adapter.gripper.open - adapter.gripper.closed)
        self._goals = Goals(node, self._kind, adapter.commands, node.get_logger().error)
        self._sent, self._sent_at = float("inf"), float("-inf")
        hear_joint_states(node, adapter.states, take)

    def send(self, values: Mapping[str, float]) -> None:
        """See `Driver`."""
        position, now = values[self._joint], time.monotonic()
        if now - self._sent_at < _INTERVAL:
            return
        if abs(position - self._sent) < self._change and not self._goals.failed:
            return
        self._sent, self._sent_at = position, now
        goal = self._kind.Goal()
        if self._parallel:
            goal.command.name, goal.command.position = [self._joint], [position]
        else:
            goal.command.position = position
        self._goals.offer(goal)
