# SPDX-License-Identifier: Apache-2.0
"""What ROS 2 is here, and what is being published right now. For `dm0 doctor`."""

import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import get_rmw_implementation_identifier


@dataclass(frozen=True)
class Middleware:
    """The ROS 2 that Python finds."""

    location: Path  # folder of rclpy
    version: str  # of rclpy, where its package tells
    rmw: str  # which DDS it talks through


def describe_middleware() -> Middleware:
    """Where rclpy comes from and which middleware it uses."""
    try:
        release = version("rclpy")
    except PackageNotFoundError:
        release = "unknown version"
    folder = Path(rclpy.__file__).parent
    return Middleware(folder, release, get_rmw_implementation_identifier())


def describe_interfaces() -> Path:
    """The folder of the generated messages; ImportError where they are not built."""
    import dm0_ros.action
    import dm0_ros.msg

    return Path(dm0_ros.msg.__file__).parent


def list_published(seconds: float) -> dict[str, list[str]]:
    """Type names by topic that has a publisher, after looking for ``seconds``."""
    context = rclpy.Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = Node("doctor", context=context, start_parameter_services=False, enable_rosout=False)
    try:
        # discovery has no event to wait for: whoever has not answered yet may still come
        time.sleep(seconds)
        found = dict(node.get_topic_names_and_types())
        return {topic: kinds for topic, kinds in found.items() if node.count_publishers(topic)}
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
