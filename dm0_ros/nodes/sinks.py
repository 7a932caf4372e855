# SPDX-License-Identifier: Apache-2.0
"""Set-points to controllers: one small class for each kind of message."""

from array import array
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from dm0_ros.control import SetPoint
from dm0_ros.nodes.quality import COMMAND
from dm0_ros.nodes.stamps import to_duration, to_time
from dm0_ros.robots.spec import Sink, SinkKind

# A trajectory controller gets windows that reach half a second ahead and are renewed five times
# before they end. It interpolates quintics between points, so twenty a second lose nothing.
_SPACING = 0.05  # s between points
_COUNT = 10  # points, the one at rest not counted
_RENEWAL = 0.1  # s between windows

# Gives the next `count` set-points at `spacing` seconds, and one at rest: Executor.preview.
Preview = Callable[[float, int], Sequence[SetPoint]]


class Output(Protocol):
    """Something that set-points go to."""

    def publish(self, point: SetPoint, preview: Preview) -> None:
        """Send what is due, if anything is."""

    def close(self) -> None:
        """Give back the publisher."""


class ForwardPositions:
    """Float64MultiArray at every tick, for a position controller."""

    def __init__(self, node: Node, sink: Sink, names: Sequence[str]) -> None:
        self._node = node
        self._columns = np.array([names.index(name) for name in sink.names])
        self._publisher = node.create_publisher(Float64MultiArray, sink.topic, COMMAND)

    def publish(self, point: SetPoint, preview: Preview) -> None:
        """See `Output`."""
        data = array("d", point.positions[self._columns].tobytes())
        self._publisher.publish(Float64MultiArray(data=data))

    def close(self) -> None:
        """See `Output`."""
        self._node.destroy_publisher(self._publisher)


class TrajectoryWindows:
    """JointTrajectory windows for a joint_trajectory_controller.

    Every point has position, velocity and acceleration, or the controller would interpolate
    linearly; the last one is at rest, or it would refuse the message; the stamp says when time
    zero is, so that points which have passed are dropped by time.
    """

    def __init__(self, node: Node, sink: Sink, names: Sequence[str]) -> None:
        self._node = node
        self._names = list(sink.names)
        self._columns = np.array([names.index(name) for name in sink.names])
        self._publisher = node.create_publisher(JointTrajectory, sink.topic, COMMAND)
        self._sent = -np.inf

    def publish(self, point: SetPoint, preview: Preview) -> None:
        """See `Output`."""
        if 0 <= point.time - self._sent < _RENEWAL:
            return
        self._sent = point.time
        message = JointTrajectory(joint_names=self._names)
        message.header.stamp = to_time(point.time)
        message.points = [self._convert(p, point.time) for p in preview(_SPACING, _COUNT)]
        self._publisher.publish(message)

    def _convert(self, point: SetPoint, start: float) -> JointTrajectoryPoint:
        return JointTrajectoryPoint(
            positions=point.positions[self._columns].tolist(),
            velocities=point.velocities[self._columns].tolist(),
            accelerations=point.accelerations[self._columns].tolist(),
            time_from_start=to_duration(point.time - start),
        )

    def close(self) -> None:
        """See `Output`."""
        self._node.destroy_publisher(self._publisher)


_KINDS = {
    SinkKind.FORWARD_POSITION: ForwardPositions,
    SinkKind.JOINT_TRAJECTORY: TrajectoryWindows,
}


def make_outputs(node: Node, sinks: Sequence[Sink], names: Sequence[str]) -> list[Output]:
    """One output for each sink of a robot's YAML; ``names`` are the columns of set-points."""
    return [_KINDS[sink.kind](node, sink, names) for sink in sinks]
