# SPDX-License-Identifier: Apache-2.0
"""Poses and velocities of bases in messages: odometry, Twist, TwistStamped, TFMessage."""

import array
import importlib
import math
from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import Pose, TransformStamped, Twist, TwistStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from dm0_ros.errors import ObservationError
from dm0_ros.navigation.controller import Fix
from dm0_ros.nodes.quality import COMMAND
from dm0_ros.nodes.stamps import to_seconds, to_time
from dm0_ros.robots.base import Base, VelocityMessage


def fix_from_odometry(message: Odometry) -> Fix:
    """Pose and stamp of an Odometry message.

    Raises `ObservationError` where the orientation is no quaternion or a number is not finite.
    """
    place, turn = message.pose.pose.position, message.pose.pose.orientation
    size = math.sqrt(turn.x**2 + turn.y**2 + turn.z**2 + turn.w**2)
    if not (math.isfinite(place.x) and math.isfinite(place.y) and abs(size - 1) < 0.1):
        raise ObservationError("odometry: its pose is not finite, or its quaternion not of size 1")
    yaw = math.atan2(2 * (turn.w * turn.z + turn.x * turn.y), 1 - 2 * (turn.y**2 + turn.z**2))
    return Fix(np.array([place.x, place.y, yaw]), to_seconds(message.header.stamp))


def make_pose(pose: np.ndarray) -> Pose:
    """The message of x, y (m) and yaw (rad)."""
    message = Pose()
    message.position.x, message.position.y = float(pose[0]), float(pose[1])
    message.orientation.z, message.orientation.w = math.sin(pose[2] / 2), math.cos(pose[2] / 2)
    return message


def make_twist(velocities: np.ndarray) -> Twist:
    """The message of m/s ahead, m/s to the left, rad/s to the left."""
    twist = Twist()
    twist.linear.x, twist.linear.y, twist.angular.z = map(float, velocities)
    return twist


def make_odometry(
    pose: np.ndarray, velocities: np.ndarray, stamp: float, frame: str, child: str
) -> Odometry:
    """The message of a pose in ``frame`` and velocities in ``child``."""
    message = Odometry(child_frame_id=child)
    message.header.frame_id, message.header.stamp = frame, to_time(stamp)
    message.pose.pose, message.twist.twist = make_pose(pose), make_twist(velocities)
    return message


def make_transform(pose: np.ndarray, stamp: float, frame: str, child: str) -> TransformStamped:
    """The transform that puts ``child`` at a pose in ``frame``."""
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id, message.header.stamp = frame, to_time(stamp)
    where = make_pose(pose)
    message.transform.translation.x = where.position.x
    message.transform.translation.y = where.position.y
    message.transform.rotation = where.orientation
    return message


class VelocityCommands:
    """Velocities to a base's driver on cmd_vel: Twist or TwistStamped, as the YAML says."""

    def __init__(self, node: Node, base: Base, topic: str = "cmd_vel") -> None:
        self._node, self._frame = node, base.frame
        self._stamped = base.command is VelocityMessage.TWIST_STAMPED
        kind = TwistStamped if self._stamped else Twist
        self._publisher = node.create_publisher(kind, topic, COMMAND)

    def publish(self, velocities: np.ndarray, now: float) -> None:
        """Send velocities (3,)."""
        twist = make_twist(velocities)
        if not self._stamped:
            self._publisher.publish(twist)
            return
        message = TwistStamped(twist=twist)
        message.header.frame_id, message.header.stamp = self._frame, to_time(now)
        self._publisher.publish(message)

    def close(self) -> None:
        """Give back the publisher."""
        self._node.destroy_publisher(self._publisher)


def subscribe_velocities(
    node: Node, base: Base, topic: str, take: Callable[[np.ndarray], None]
) -> None:
    """Call ``take`` with velocities (3,) from a topic of the kind that the YAML names."""
    stamped = base.command is VelocityMessage.TWIST_STAMPED

    def unpack(message: Twist | TwistStamped) -> None:
        twist = message.twist if stamped else message
        take(np.array([twist.linear.x, twist.linear.y, twist.angular.z]))

    node.create_subscription(TwistStamped if stamped else Twist, topic, unpack, COMMAND)


class Frames:
    """Transforms on /tf, where tf2_msgs is installed: there is no wheel of it."""

    def __init__(self, node: Node, topic: str = "/tf") -> None:
        try:
            self._kind = importlib.import_module("tf2_msgs.msg").TFMessage
        except ModuleNotFoundError:
            node.get_logger().warning(
                "tf2_msgs is not installed, so nothing is published on /tf; odometry has the same "
                "pose. Remedy: install ros-jazzy-tf2-msgs with apt"
            )
            self._kind = None
            return
        self._publisher = node.create_publisher(self._kind, topic, QoSProfile(depth=100))

    def publish(self, *transforms: TransformStamped) -> None:
        """Send transforms, or nothing where there is no tf2_msgs."""
        if self._kind is not None:
            self._publisher.publish(self._kind(transforms=list(transforms)))


def image_from_depth(depth: np.ndarray) -> Image:
    """A 32FC1 Image of depths (height, width) in m (REP-118); the caller fills the header."""
    height, width = depth.shape
    message = Image(height=height, width=width, encoding="32FC1", step=4 * width)
    # rosidl takes an array.array as it is; any other type costs a hundred times more.
    message.data = array.array("B", np.ascontiguousarray(depth, "<f4").tobytes())
    return message
