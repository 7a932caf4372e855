# SPDX-License-Identifier: Apache-2.0
"""What every kind of driver has in common."""

import importlib
from collections.abc import Callable, Mapping
from typing import Protocol

from rclpy.node import Node
from sensor_msgs.msg import JointState

from dm0_ros.errors import RobotError
from dm0_ros.nodes.quality import SENSOR

Take = Callable[[Mapping[str, float]], None]


class Driver(Protocol):
    """Something that commands go to, in its own names and numbers."""

    def send(self, values: Mapping[str, float]) -> None:
        """Command these positions."""


def find_message(package: str, name: str, remedy: str) -> type:
    """The message ``package/msg/name``, imported only here: not every machine has it.

    Raises `RobotError` that says what to install.
    """
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except ModuleNotFoundError as cause:
        raise RobotError(
            f"the adapter needs {package}/msg/{name}, and {package} is not installed; {remedy}"
        ) from cause
    except AttributeError as cause:
        raise RobotError(f"this {package} has no msg/{name}; {remedy}") from cause


def hear_joint_states(node: Node, topic: str, take: Take) -> None:
    """Pass on every JointState of a topic, by its names."""

    def hear(message: JointState) -> None:
        # short or absent positions are legal: then those joints are not in this message
        take(dict(zip(message.name, message.position, strict=False)))

    node.create_subscription(JointState, topic, hear, SENSOR)
