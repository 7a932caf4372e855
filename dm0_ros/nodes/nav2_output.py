# SPDX-License-Identifier: Apache-2.0
"""Motions of a base as goals of Nav2: the end of each route goes to the action NavigateToPose."""

import importlib
import threading
from functools import partial

import numpy as np
from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.task import Future

from dm0_ros.errors import RobotError
from dm0_ros.navigation.controller import Fix, State
from dm0_ros.navigation.pursuit import integrate, wrap
from dm0_ros.navigation.routes import Motion, Route
from dm0_ros.nodes.bases import make_pose
from dm0_ros.nodes.stamps import to_time

_ACTION = "navigate_to_pose"
_SAME_PLACE = 0.2  # m: a goal that moves by less is not sent again
_SAME_HEADING = 0.35  # rad
_DISCOVERY = 2.0  # s that Nav2 may take to be found, when both have just started


def find_navigate_to_pose() -> type:
    """The action ``nav2_msgs/action/NavigateToPose``; raises `RobotError` where it is missing."""
    try:
        return importlib.import_module("nav2_msgs.action").NavigateToPose
    except ModuleNotFoundError as cause:
        raise RobotError(
            "output nav2 needs nav2_msgs/action/NavigateToPose, and nav2_msgs is not installed; "
            "install ros-jazzy-nav2-msgs with apt (there is no wheel of it), or use output cmd_vel"
        ) from cause


class Nav2Output:
    """An `Output` that lets Nav2 drive; any thread may call it.

    Goals are poses in the odometry's frame. A goal near to the one under way is not sent again, a
    new one takes its place, a stop cancels it. What the node's thread sends is decided there.
    """

    def __init__(self, node: Node, frame: str) -> None:
        self._node, self._frame = node, frame
        self._kind = find_navigate_to_pose()
        self._client = ActionClient(node, self._kind, _ACTION)
        self._waker = node.create_guard_condition(self._act)
        self._lock = threading.Lock()
        self._wanted: np.ndarray | None = None  # pose to send
        self._cancels = False
        self._pose: np.ndarray | None = None  # of the newest goal
        self._handle = None
        self._count = 0
        self._state, self._reason = State.IDLE, "no goal yet"

    def note(self, fix: Fix) -> None:
        """Nav2 has its own odometry."""

    def drive(self, motion: Motion, origin: Fix) -> None:
        """See `Output`."""
        route = motion if isinstance(motion, Route) else motion.route()
        if route.stays:
            self.stop("the plan says stop")
            return
        pose = integrate(origin.pose, route.poses[-1] * [1.0, 1.0, 0.0], 1.0)
        pose[2] = wrap(origin.pose[2] + route.poses[-1][2])
        with self._lock:
            if self._state is State.DRIVING and _is_near(pose, self._pose):
                return
            self._wanted = self._pose = pose
            self._cancels = False
            self._state, self._reason = State.DRIVING, ""
        self._waker.trigger()

    def stop(self, reason: str) -> None:
        """See `Output`."""
        with self._lock:
            self._wanted = self._pose = None
            self._cancels = self._state is State.DRIVING
            self._state, self._reason = State.STOPPED, reason
        self._waker.trigger()

    def status(self) -> tuple[State, str]:
        """See `Output`."""
        with self._lock:
            return self._state, self._reason

    def close(self) -> None:
        """Cancel what is under way and give back the client."""
        if self._handle is not None:
            self._handle.cancel_goal_async()
        self._node.destroy_guard_condition(self._waker)
        self._client.destroy()

    def _act(self) -> None:
        """Send what is wanted; in the node's thread."""
        with self._lock:
            pose, self._wanted = self._wanted, None
            cancels, self._cancels = self._cancels, False
        if cancels and self._handle is not None:
            self._handle.cancel_goal_async()
        if pose is None:
            return
        if not self._client.wait_for_server(_DISCOVERY):
            self._fail(f"no action server {_ACTION}; start Nav2")
            return
        goal = self._kind.Goal()
        goal.pose.header.frame_id = self._frame
        goal.pose.header.stamp = to_time(0.0)  # the newest transform, whenever the goal arrives
        goal.pose.pose = make_pose(pose)
        self._count += 1
        answer = self._client.send_goal_async(goal)
        answer.add_done_callback(partial(self._take_answer, self._count))

    def _take_answer(self, count: int, answer: Future) -> None:
        handle = answer.result()
        if count != self._count:
            return
        if not handle.accepted:
            self._fail(f"{_ACTION} refuses a goal; see the log of Nav2")
            return
        self._handle = handle
        handle.get_result_async().add_done_callback(partial(self._take_result, count))
        with self._lock:
            stopped = self._state is not State.DRIVING
        if stopped:  # while the goal was on its way
            handle.cancel_goal_async()

    def _take_result(self, count: int, future: Future) -> None:
        if count != self._count:
            return  # a newer goal took its place
        self._handle = None
        answer = future.result()
        with self._lock:
            if self._state is not State.DRIVING:
                return
            if answer.status == GoalStatus.STATUS_SUCCEEDED:
                self._state, self._reason = State.ARRIVED, "Nav2 reached the goal"
                return
        code, text = answer.result.error_code, getattr(answer.result, "error_msg", "")
        self._fail(f"Nav2 gave up with error {code}: {text or 'it does not say why'}")

    def _fail(self, reason: str) -> None:
        with self._lock:
            self._state, self._reason = State.STOPPED, reason


def _is_near(pose: np.ndarray, other: np.ndarray | None) -> bool:
    if other is None:
        return False
    gap = float(np.linalg.norm(pose[:2] - other[:2]))
    return gap < _SAME_PLACE and abs(wrap(pose[2] - other[2])) < _SAME_HEADING
