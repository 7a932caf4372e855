# SPDX-License-Identifier: Apache-2.0
"""Trajectories for a joint_trajectory_controller, by its topic or by its action."""

from collections.abc import Callable, Sequence

from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory

from dm0_ros.control import SetPoint
from dm0_ros.nodes.quality import COMMAND
from dm0_ros.nodes.sinks.goals import Goals, find_action
from dm0_ros.nodes.sinks.output import Preview, find_listener
from dm0_ros.nodes.sinks.windows import Windows
from dm0_ros.robots.spec import Sink


class TrajectoryWindows:
    """JointTrajectory to the controller's topic, which tells nothing back."""

    vital = False

    def __init__(self, node: Node, sink: Sink, names: Sequence[str]) -> None:
        self._node = node
        self._windows = Windows(sink, names)
        self._publisher = node.create_publisher(JointTrajectory, sink.topic, COMMAND)

    def publish(self, point: SetPoint, preview: Preview) -> None:
        """See `Output`."""
        window = self._windows.due(point, preview)
        if window is not None:
            self._publisher.publish(window)

    def rest(self) -> None:
        """The last window ends at rest."""
        self._windows.forget()

    def complaint(self) -> str:
        """See `Output`."""
        return find_listener(self._publisher)

    def close(self) -> None:
        """See `Output`."""
        self._node.destroy_publisher(self._publisher)


class TrajectoryGoals:
    """FollowJointTrajectory: each window is a goal that takes the place of the one before.

    A controller that is gone, refuses a goal, or gives one up because the arm does not follow, is
    told by ``fail(sentence)`` and gets no more goals until `rest`: they would make the arm leap
    when it comes back.
    """

    vital = True

    def __init__(
        self, node: Node, sink: Sink, names: Sequence[str], fail: Callable[[str], None]
    ) -> None:
        self._kind = find_action("FollowJointTrajectory", sink)
        self._windows = Windows(sink, names)
        self._goals = Goals(node, self._kind, sink.topic, fail)

    def publish(self, point: SetPoint, preview: Preview) -> None:
        """See `Output`."""
        if self._goals.failed:
            return
        window = self._windows.due(point, preview)
        if window is not None:
            self._goals.offer(self._kind.Goal(trajectory=window))

    def rest(self) -> None:
        """The last goal ends at rest."""
        self._windows.forget()
        self._goals.forget()

    def complaint(self) -> str:
        """See `Output`."""
        return self._goals.complaint()

    def close(self) -> None:
        """See `Output`."""
        self._goals.close()
