# SPDX-License-Identifier: Apache-2.0
"""An action server navigate_to_pose as Nav2's: a new goal takes the place of the one before.

It drives nothing. Goals and what becomes of them are published; `nav2/order` ends the newest one.
"""

import contextlib
import threading

import rclpy
from geometry_msgs.msg import PoseStamped
from nav2_msgs.action import NavigateToPose
from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import String

KEEP_ALL = QoSProfile(depth=100)
POLL = 0.02  # s


class Server(Node):
    """Numbers goals from 1."""

    def __init__(self) -> None:
        super().__init__("nav2")
        self.count = 0
        self.order = threading.Event()
        self.word = ""
        self.goals = self.create_publisher(PoseStamped, "nav2/goals", KEEP_ALL)
        self.events = self.create_publisher(String, "nav2/events", KEEP_ALL)
        self.create_subscription(String, "nav2/order", self.obey, KEEP_ALL)
        self.server = ActionServer(
            self,
            NavigateToPose,
            "navigate_to_pose",
            self.execute,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
            callback_group=ReentrantCallbackGroup(),
        )

    def obey(self, message: String) -> None:
        self.word = message.data
        self.order.set()

    def tell(self, number: int, event: str) -> None:
        self.events.publish(String(data=f"{number} {event}"))

    def execute(self, goal) -> NavigateToPose.Result:
        self.count += 1
        number = self.count
        self.order.clear()
        self.goals.publish(goal.request.pose)
        self.tell(number, "accepted")
        while not self.order.wait(POLL) or number != self.count:
            if goal.is_cancel_requested:
                goal.canceled()
                self.tell(number, "cancelled")
                return NavigateToPose.Result()
            if number != self.count:
                goal.abort()
                self.tell(number, "preempted")
                return NavigateToPose.Result()
        if self.word == "succeed":
            goal.succeed()
            return NavigateToPose.Result()
        goal.abort()
        return NavigateToPose.Result(error_code=208, error_msg="no valid path")


def main() -> None:
    rclpy.init()
    executor = MultiThreadedExecutor(6)
    executor.add_node(Server())
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        executor.spin()


if __name__ == "__main__":
    main()
