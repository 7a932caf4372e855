# SPDX-License-Identifier: Apache-2.0
"""The navigator with Nav2: goals sent, kept, planned anew, cancelled, given up; and without it."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from driving import Drive
from geometry_msgs.msg import PoseStamped
from interfaces import NAV2_MSGS, TF2_MSGS, build_package, environment_with
from std_msgs.msg import String

from dm0_ros.action import NavigateToObject
from dm0_ros.navigation.pursuit import integrate
from dm0_ros.nodes.bases import fix_from_odometry
from dm0_ros.nodes.quality import COMMAND

HAS_NAV2 = importlib.util.find_spec("nav2_msgs") is not None
HAS_TF2 = importlib.util.find_spec("tf2_msgs") is not None
HERE = Path(__file__).parent
Result = NavigateToObject.Result

# Prints the frames of transforms that come, as "parent child".
LISTENER = """
import rclpy
from tf2_msgs.msg import TFMessage
rclpy.init()
node = rclpy.create_node("listener")
def tell(message):
    for one in message.transforms:
        print(one.header.frame_id, one.child_frame_id, flush=True)
node.create_subscription(TFMessage, "/tf", tell, 10)
rclpy.spin(node)
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The environment of processes that have nav2_msgs and tf2_msgs."""
    if HAS_NAV2 and HAS_TF2:
        return {}
    folder = tmp_path_factory.mktemp("interfaces")
    build_package(folder, folder / "prefix", "nav2_msgs", NAV2_MSGS)
    build_package(folder, folder / "prefix", "tf2_msgs", TF2_MSGS)
    return environment_with(folder / "prefix")


class Nav2:
    """The other process: an action server, and what it says."""

    def __init__(self, graph, environment):
        self.graph = graph
        self.process = graph.run(sys.executable, str(HERE / "nav2_server.py"), **environment)
        self.goals = graph.collect(PoseStamped, "nav2/goals", COMMAND)
        self.events = graph.collect(String, "nav2/events", COMMAND)
        self.orders = graph.publisher(String, "nav2/order", COMMAND)

    def wait(self, event):
        """Wait for an event such as '1 accepted'."""
        self.graph.wait(lambda: event in [message.data for message in self.events], event)

    def end_goal(self, how):
        self.orders.publish(String(data=how))


def pose_of(goal):
    turn = goal.pose.orientation
    place = goal.pose.position
    return np.array([place.x, place.y, 2 * np.arctan2(turn.z, turn.w)])


def test_goals_are_sent_kept_planned_anew_and_cancelled(graph, packages):
    nav2 = Nav2(graph, packages)
    drive = Drive(graph, "output:=nav2", environment=packages)
    handle = drive.send()
    graph.wait(lambda: len(drive.odometry) > 3, "odometry")
    here = fix_from_odometry(drive.odometry[-1]).pose
    drive.say("move forward 50 cm")
    nav2.wait("1 accepted")
    assert nav2.goals[0].header.frame_id == "odom"
    assert pose_of(nav2.goals[0]) == pytest.approx(integrate(here, np.array([0.5, 0, 0]), 1.0))
    plans = drive.feedback[-1].plans if drive.feedback else 0
    drive.say("move forward 50 cm")
    graph.wait(lambda: drive.feedback and drive.feedback[-1].plans > max(plans, 1), "a plan")
    assert len(nav2.goals) == 1  # the same place: the goal under way will do

    drive.say("turn left 45 degrees")
    nav2.wait("2 accepted")
    nav2.wait("1 preempted")
    assert pose_of(nav2.goals[1])[2] == pytest.approx(np.pi / 4, abs=1e-3)
    nav2.end_goal("succeed")
    graph.wait(lambda: drive.feedback[-1].reason == "Nav2 reached the goal", "the arrival")

    drive.say("move forward 75 cm")
    nav2.wait("3 accepted")
    graph.wait(handle.cancel_goal_async().done, "an answer to the cancel")
    nav2.wait("3 cancelled")
    assert drive.wait_result(handle).outcome == Result.CANCELLED
    assert not drive.commands  # Nav2 drives, not we


def test_a_plan_that_says_stop_cancels_the_goal(graph, packages):
    nav2 = Nav2(graph, packages)
    drive = Drive(graph, "output:=nav2", environment=packages)
    handle = drive.send()
    drive.say("move forward 50 cm")
    nav2.wait("1 accepted")
    result = drive.stop_by_words(handle)
    nav2.wait("1 cancelled")
    assert result.outcome == Result.SUCCEEDED


def test_nav2_that_gives_up_is_quoted(graph, packages):
    nav2 = Nav2(graph, packages)
    drive = Drive(graph, "output:=nav2", "attempts:=1", environment=packages)
    handle = drive.send()
    drive.say("move forward 50 cm")
    nav2.wait("1 accepted")
    nav2.end_goal("abort")
    result = drive.wait_result(handle)
    assert result.outcome == Result.FAULT
    assert result.message.endswith("Nav2 gave up with error 208: no valid path")


def test_no_server_is_named(graph, packages):
    drive = Drive(graph, "output:=nav2", "attempts:=1", environment=packages)
    handle = drive.send()
    drive.say("move forward 50 cm")
    result = drive.wait_result(handle)
    assert result.outcome == Result.FAULT
    assert "no action server navigate_to_pose; start Nav2" in result.message


def test_transforms_are_published_where_there_is_a_message_for_them(graph, packages):
    listener = graph.run(sys.executable, "-c", LISTENER, **packages)
    graph.run(
        sys.executable, "-m", "dm0_ros.nodes.house_simulator", "--ros-args",
        "-p", "depth:=false", **packages,
    )  # fmt: skip
    wanted = {"map odom", "odom base_link"}
    graph.wait(lambda: wanted <= {line.strip() for line in listener.lines}, "transforms")


@pytest.mark.skipif(HAS_NAV2, reason="nav2_msgs is installed")
def test_without_nav2_it_says_so_at_configure(graph):
    process = graph.start("navigator", "autostart:=true", "head:=words", "output:=nav2")
    assert process.wait() == 1
    assert "output nav2 needs nav2_msgs/action/NavigateToPose" in process.output
    assert "install ros-jazzy-nav2-msgs" in process.output
    assert "Traceback" not in process.output


@pytest.mark.skipif(HAS_TF2, reason="tf2_msgs is installed")
def test_without_tf2_the_simulator_says_so_and_works(graph):
    process = graph.start("house_simulator", "depth:=false")
    graph.wait(lambda: "tf2_msgs is not installed" in process.output, "the warning")
    graph.wait(lambda: "simulating Mobile base" in process.output, "the start")
