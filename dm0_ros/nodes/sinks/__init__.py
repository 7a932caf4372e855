# SPDX-License-Identifier: Apache-2.0
"""Set-points to controllers: one small class for each kind of message."""

from collections.abc import Callable

from rclpy.node import Node

from dm0_ros.nodes.sinks.grippers import GripperGoals
from dm0_ros.nodes.sinks.output import Output, Preview
from dm0_ros.nodes.sinks.poses import Poses, Twists
from dm0_ros.nodes.sinks.positions import ForwardPositions
from dm0_ros.nodes.sinks.trajectories import TrajectoryGoals, TrajectoryWindows
from dm0_ros.robots.spec import RobotSpec, Sink, SinkKind

__all__ = ["Output", "Preview", "make_outputs"]


def make_outputs(node: Node, robot: RobotSpec, fail: Callable[[str], None]) -> list[Output]:
    """One output for each sink of a robot's YAML.

    ``fail(sentence)`` is called, in the node's thread, where the arm must not move any more.
    Raises `RobotError` where a sink needs an interface that this machine lacks.
    """
    outputs: list[Output] = []
    try:
        for sink in robot.sinks:
            outputs.append(_make(node, robot, sink, fail))
    except BaseException:
        for output in outputs:
            output.close()
        raise
    return outputs


def _make(node: Node, robot: RobotSpec, sink: Sink, fail: Callable[[str], None]) -> Output:
    names = robot.column_names
    match sink.kind:
        case SinkKind.FORWARD_POSITION:
            return ForwardPositions(node, sink, names)
        case SinkKind.JOINT_TRAJECTORY:
            return TrajectoryWindows(node, sink, names)
        case SinkKind.FOLLOW_JOINT_TRAJECTORY:
            return TrajectoryGoals(node, sink, names, fail)
        case SinkKind.POSE:
            return Poses(node, sink, robot)
        case SinkKind.TWIST | SinkKind.TWIST_STAMPED:
            return Twists(node, sink, robot)
        case SinkKind.GRIPPER_COMMAND | SinkKind.PARALLEL_GRIPPER_COMMAND:
            return GripperGoals(node, sink, robot, node.get_logger().error)
