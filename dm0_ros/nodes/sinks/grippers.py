# SPDX-License-Identifier: Apache-2.0
"""Grippers that are driven by an action: told of changes, not of every tick."""

import math
from collections.abc import Callable

from rclpy.node import Node

from dm0_ros.control import SetPoint
from dm0_ros.nodes.sinks.goals import Goals, find_action
from dm0_ros.nodes.sinks.output import Preview
from dm0_ros.robots.spec import RobotSpec, Sink, SinkKind

_INTERVAL = 0.1  # s between goals: drivers work one off at 10 to 30 Hz
_RETRY = 1.0  # s after which a goal that failed is sent again
_SAME = 1e-4  # m: where a gripper comes to rest this near the last goal, no other is needed


class GripperGoals:
    """GripperCommand or ParallelGripperCommand, whenever the opening has changed by enough.

    Goals are in the driver's terms: the joint's position, which is the opening divided by
    ``opening_per_joint``. What is lost is told by ``tell(sentence)``; the arm goes on.
    """

    vital = False

    def __init__(
        self, node: Node, sink: Sink, robot: RobotSpec, tell: Callable[[str], None]
    ) -> None:
        self._sink = sink
        parallel = sink.kind is SinkKind.PARALLEL_GRIPPER_COMMAND
        self._kind = find_action("ParallelGripperCommand" if parallel else "GripperCommand", sink)
        self._fill = self._fill_parallel if parallel else self._fill_single
        self._column = robot.column_names.index(sink.names[0])
        spec = next(one for one in robot.grippers if one.name == sink.names[0])
        self._scale = 1.0 / spec.opening_per_joint
        self._goals = Goals(node, self._kind, sink.topic, tell)
        self.rest()

    def publish(self, point: SetPoint, preview: Preview) -> None:
        """See `Output`."""
        passed = point.time - self._sent_at
        if 0 <= passed < (_RETRY if self._goals.failed else _INTERVAL):
            return
        opening = float(point.positions[self._column])
        change = abs(opening - self._sent)
        still = point.velocities[self._column] == 0
        if change <= (_SAME if still else self._sink.threshold) and not self._goals.failed:
            return
        self._sent, self._sent_at = opening, point.time
        goal = self._kind.Goal()
        self._fill(goal.command, opening * self._scale)
        self._goals.offer(goal)

    def _fill_single(self, command, position: float) -> None:
        command.position, command.max_effort = position, self._sink.effort

    def _fill_parallel(self, command, position: float) -> None:
        command.name, command.position = list(self._sink.names), [position]
        if self._sink.effort:
            command.effort = [self._sink.effort]

    def rest(self) -> None:
        """The gripper keeps what it holds; the next motion tells it again."""
        self._sent, self._sent_at = math.inf, -math.inf

    def complaint(self) -> str:
        """See `Output`."""
        return self._goals.complaint()

    def close(self) -> None:
        """See `Output`."""
        self._goals.close()
