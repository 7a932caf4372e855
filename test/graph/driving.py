# SPDX-License-Identifier: Apache-2.0
"""A simulated base and its navigator, and a model, the test, that answers with words."""

import sys

import yaml
from geometry_msgs.msg import Twist
from lifecycle_msgs.srv import GetState
from nav_msgs.msg import Odometry
from rclpy.action import ActionClient
from std_msgs.msg import String

from dm0_ros.action import NavigateToObject
from dm0_ros.nodes.quality import COMMAND, SENSOR
from dm0_ros.resources import find_resource

PARAMETERS = ("autostart:=true", "head:=words", "period:=0.2")


def write_base(folder, **changes):
    """A YAML of the mobile base with other values in its section `base`, as a path."""
    robot = yaml.safe_load(find_resource("config", "mobile_base.yaml").read_text())
    robot["base"] |= changes
    path = folder / "base.yaml"
    path.write_text(yaml.safe_dump(robot))
    return path


class Drive:
    """The navigator under test, with a simulator unless the test has its own base."""

    def __init__(
        self, graph, *parameters, robot="mobile_base", words=True, kind=Twist, environment=None
    ):
        self.graph = graph
        self.simulator = graph.start(
            "house_simulator", f"robot:={robot}", "seed:=5", "depth:=false"
        )
        given = (f"robot:={robot}", *PARAMETERS, *parameters)
        flags = [word for parameter in given for word in ("-p", parameter)]
        command = (sys.executable, "-m", "dm0_ros.nodes.navigator", "--ros-args", *flags)
        self.process = graph.run(*command, **(environment or {}))
        self.odometry = graph.collect(Odometry, "odom", SENSOR)
        self.commands = graph.collect(kind, "cmd_vel", COMMAND)
        self.feedback = []
        graph.wait(self.is_active, "an active navigator")
        self.client = ActionClient(graph.node, NavigateToObject, "navigate_to_object")
        graph.wait(self.client.server_is_ready, "the action server")
        self.answers = graph.publisher(String, "answer", COMMAND) if words else None

    def is_active(self):
        state = self.graph.call(GetState, "navigator/get_state").current_state.label
        return state == "active"

    def send(self, instruction="find the chair", limit=60):
        """The handle of a goal."""
        goal = NavigateToObject.Goal(instruction=instruction)
        goal.time_limit.sec = limit
        sent = self.client.send_goal_async(
            goal, feedback_callback=lambda message: self.feedback.append(message.feedback)
        )
        self.graph.wait(sent.done, "an answer to the goal")
        return sent.result()

    def say(self, text):
        """One answer of the model."""
        self.answers.publish(String(data=text))

    def wait_result(self, handle):
        """The result of a goal."""
        future = handle.get_result_async()
        self.graph.wait(future.done, "a result")
        return future.result().result

    def stop_by_words(self, handle):
        """Say stop until the mission is over."""
        future = handle.get_result_async()

        def over():
            self.say("stop")
            return future.done()

        self.graph.wait(over, "the mission to end")
        return future.result().result

    def place(self):
        """x of the newest odometry, m."""
        return self.odometry[-1].pose.pose.position.x
