# SPDX-License-Identifier: Apache-2.0
"""Listens where a robot's controllers would, counts what comes, and moves nothing."""

from collections import Counter

from geometry_msgs.msg import PoseStamped, Twist, TwistStamped
from rclpy.action import ActionServer
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from dm0_ros.nodes.quality import COMMAND
from dm0_ros.nodes.sinks.goals import find_action
from dm0_ros.robots.spec import RobotSpec, Sink, SinkKind

_MESSAGES = {
    SinkKind.FORWARD_POSITION: Float64MultiArray,
    SinkKind.JOINT_TRAJECTORY: JointTrajectory,
    SinkKind.POSE: PoseStamped,
    SinkKind.TWIST: Twist,
    SinkKind.TWIST_STAMPED: TwistStamped,
}
_ACTIONS = {
    SinkKind.FOLLOW_JOINT_TRAJECTORY: "FollowJointTrajectory",
    SinkKind.GRIPPER_COMMAND: "GripperCommand",
    SinkKind.PARALLEL_GRIPPER_COMMAND: "ParallelGripperCommand",
}


class StandIn:
    """Of every controller that a robot's sinks go to. Goals succeed as soon as they come."""

    def __init__(self, node: Node, robot: RobotSpec) -> None:
        """Raises `RobotError` where a sink needs an interface that this machine lacks."""
        self.counts: Counter[str] = Counter()  # commands, by sink's topic
        self._node = node
        for sink in robot.sinks:
            if sink.kind in _MESSAGES:
                self._listen(sink)
            else:
                self._serve(sink)

    def _listen(self, sink: Sink) -> None:
        def count(_data: bytes) -> None:
            self.counts[sink.topic] += 1

        self._node.create_subscription(_MESSAGES[sink.kind], sink.topic, count, COMMAND, raw=True)

    def _serve(self, sink: Sink) -> None:
        kind = find_action(_ACTIONS[sink.kind], sink)

        def succeed(goal: ServerGoalHandle):
            self.counts[sink.topic] += 1
            goal.succeed()
            return kind.Result()

        ActionServer(self._node, kind, sink.topic, succeed)
