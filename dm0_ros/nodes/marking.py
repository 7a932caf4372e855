# SPDX-License-Identifier: Apache-2.0
"""Marks of episodes, for recorders: on `episode`, kept for those who join late."""

import uuid
from dataclasses import replace

from rclpy.node import Node
from std_msgs.msg import String

from dm0_ros.nodes.quality import STATUS
from dm0_ros.nodes.stamps import read_clock
from dm0_ros.policy.marks import MARKS_TOPIC, Mark


class Marker:
    """Publishes where episodes begin and end; one at a time."""

    def __init__(self, node: Node, source: str) -> None:
        self._node, self._source = node, source
        self._publisher = node.create_publisher(String, MARKS_TOPIC, STATUS)
        self._running: Mark | None = None

    @property
    def running(self) -> Mark | None:
        """The episode that has begun and not ended."""
        return self._running

    def begin(self, instruction: str) -> None:
        """An episode begins now."""
        self._running = Mark(uuid.uuid4().hex, self._source, instruction, self._now())
        self._publish(self._running)

    def end(self, outcome: str = "", message: str = "") -> None:
        """It ends now; nothing happens where none has begun."""
        mark, self._running = self._running, None
        if mark is not None:
            self._publish(replace(mark, end=self._now(), outcome=outcome, message=message))

    def destroy(self) -> None:
        """Take the topic off the graph."""
        self._node.destroy_publisher(self._publisher)

    def _now(self) -> float:
        return read_clock(self._node.get_clock())

    def _publish(self, mark: Mark) -> None:
        self._publisher.publish(String(data=mark.dump()))
