# SPDX-License-Identifier: Apache-2.0
"""The ears of `dm0 view`: listens to a running graph and tells a story what it hears."""

from collections.abc import Callable
from functools import partial

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from dm0_ros.errors import Dm0Error
from dm0_ros.msg import ActionChunk, ExecutorStatus, SpatialScaffold
from dm0_ros.nodes.pictures import picture_from_image
from dm0_ros.nodes.quality import COMMAND, SENSOR, STATUS
from dm0_ros.nodes.stamps import read_clock
from dm0_ros.robots.spec import RobotSpec
from dm0_ros.viewing.sources import Kind, Source, list_sources
from dm0_ros.viewing.story import Story

_IDLE_PERIOD = 0.1  # s between looks at whether to go on
# A viewer that is late must not make those wait who drive a robot.
_BEST_EFFORT = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
_HEARING = {
    Kind.PICTURE: (Image, SENSOR),
    Kind.JPEG: (CompressedImage, SENSOR),
    Kind.JOINTS: (JointState, SENSOR),
    Kind.POSITIONS: (Float64MultiArray, _BEST_EFFORT),
    Kind.TRAJECTORY: (JointTrajectory, _BEST_EFFORT),
    Kind.PLAN: (ActionChunk, COMMAND),
    Kind.SCAFFOLD: (SpatialScaffold, COMMAND),
    Kind.STATUS: (ExecutorStatus, STATUS),
}


def tell_graph(
    spec: RobotSpec,
    story: Story,
    go_on: Callable[[], bool],
    namespace: str = "",
    use_sim_time: bool = False,
) -> None:
    """Tell a story what a graph says, for as long as ``go_on()`` is true; it is asked often."""
    context = rclpy.Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = Node(
        "viewer",
        context=context,
        namespace=namespace,
        parameter_overrides=[Parameter("use_sim_time", value=use_sim_time)],
    )
    for source in list_sources(spec, story, _decode):
        kind, quality = _HEARING[source.kind]
        node.create_subscription(kind, source.topic, partial(_hear, node, source), quality)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        while go_on():
            executor.spin_once(timeout_sec=_IDLE_PERIOD)
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)


def _decode(topic: str, message: Image):
    return picture_from_image(message, topic)


def _hear(node: Node, source: Source, message) -> None:
    try:
        source.take(message, read_clock(node.get_clock()))
    except Dm0Error as error:
        # One camera that speaks strangely must not end the view of the rest.
        node.get_logger().warning(f"not shown: {error}", throttle_duration_sec=5.0)
