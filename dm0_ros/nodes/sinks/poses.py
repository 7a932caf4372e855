# SPDX-License-Identifier: Apache-2.0
"""Where the set-point has the end effector, and how fast: for Cartesian controllers."""

import numpy as np
import pinocchio
from geometry_msgs.msg import PoseStamped, Twist, TwistStamped
from rclpy.node import Node

from dm0_ros.control import SetPoint
from dm0_ros.nodes.quality import COMMAND
from dm0_ros.nodes.sinks.output import Preview, find_listener
from dm0_ros.nodes.stamps import read_clock, to_time
from dm0_ros.robots.kinematics import Chain, load_urdf
from dm0_ros.robots.spec import RobotSpec, Sink, SinkKind


class _EndEffector:
    """The chain of an end effector, and its joints among the columns of set-points."""

    def __init__(self, robot: RobotSpec, sink: Sink) -> None:
        spec = next(one for one in robot.end_effectors if one.name == sink.names[0])
        self.base = spec.base
        self._chain = Chain(load_urdf(robot), spec.base, spec.tip)
        names = robot.column_names
        self._columns = np.array([names.index(name) for name in self._chain.joint_names])

    def pose(self, point: SetPoint) -> np.ndarray:
        """(4, 4) in the base."""
        return self._chain.pose_at(point.positions[self._columns])

    def twist(self, point: SetPoint) -> np.ndarray:
        """(6,) in the base: m/s, then rad/s."""
        jacobian = self._chain.jacobian_at(point.positions[self._columns])
        return jacobian @ point.velocities[self._columns]


class Poses:
    """PoseStamped of the end effector in its base link, at every tick."""

    vital = False

    def __init__(self, node: Node, sink: Sink, robot: RobotSpec) -> None:
        self._node = node
        self._arm = _EndEffector(robot, sink)
        self._publisher = node.create_publisher(PoseStamped, sink.topic, COMMAND)

    def publish(self, point: SetPoint, preview: Preview) -> None:
        """See `Output`."""
        matrix = self._arm.pose(point)
        message = PoseStamped()
        message.header.frame_id = self._arm.base
        message.header.stamp = to_time(point.time)
        place, turn = message.pose.position, message.pose.orientation
        place.x, place.y, place.z = matrix[:3, 3].tolist()
        turn.x, turn.y, turn.z, turn.w = pinocchio.Quaternion(matrix[:3, :3]).coeffs().tolist()
        self._publisher.publish(message)

    def rest(self) -> None:
        """The controller keeps the last pose."""

    def complaint(self) -> str:
        """See `Output`."""
        return find_listener(self._publisher)

    def close(self) -> None:
        """See `Output`."""
        self._node.destroy_publisher(self._publisher)


class Twists:
    """Twist or TwistStamped of the end effector in its base link, at every tick.

    A velocity goes on until the next one, so zero is sent once when nothing is commanded any more.
    """

    vital = False

    def __init__(self, node: Node, sink: Sink, robot: RobotSpec) -> None:
        self._node = node
        self._arm = _EndEffector(robot, sink)
        self._stamped = sink.kind is SinkKind.TWIST_STAMPED
        kind = TwistStamped if self._stamped else Twist
        self._publisher = node.create_publisher(kind, sink.topic, COMMAND)

    def publish(self, point: SetPoint, preview: Preview) -> None:
        """See `Output`."""
        self._send(self._arm.twist(point), point.time)

    def _send(self, values: np.ndarray, time: float) -> None:
        twist = Twist()
        twist.linear.x, twist.linear.y, twist.linear.z = values[:3].tolist()
        twist.angular.x, twist.angular.y, twist.angular.z = values[3:].tolist()
        if not self._stamped:
            self._publisher.publish(twist)
            return
        message = TwistStamped(twist=twist)
        message.header.frame_id = self._arm.base
        message.header.stamp = to_time(time)
        self._publisher.publish(message)

    def rest(self) -> None:
        """See `Output`."""
        self._send(np.zeros(6), read_clock(self._node.get_clock()))

    def complaint(self) -> str:
        """See `Output`."""
        return find_listener(self._publisher)

    def close(self) -> None:
        """See `Output`."""
        self._node.destroy_publisher(self._publisher)
