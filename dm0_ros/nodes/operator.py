# SPDX-License-Identifier: Apache-2.0
"""The operator: gives instructions to a running graph and watches what comes of them.

No node of the graph but one that a person would run: it spins only while it waits, in the
caller's thread, and every wait has a deadline.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import rclpy
from action_msgs.msg import GoalStatus
from lifecycle_msgs.srv import GetState
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from dm0_ros.action import ExecuteInstruction
from dm0_ros.errors import Dm0Error
from dm0_ros.msg import ExecutorStatus, SimulatorOutcome
from dm0_ros.nodes.quality import SENSOR, STATUS
from dm0_ros.nodes.stamps import to_duration, to_seconds

_IDLE_PERIOD = 0.05  # s
_ANSWER_TIME = 15.0  # s that a service or the action server may take to answer
_DRAIN_TIME = 0.2  # s until the simulator has obeyed the last command
_SETTLE_TIME = 0.3  # s after a reset until every picture shows the new scene
_LINGER_TIME = 0.4  # s after a touch that are still recorded

_OUTCOMES = {
    getattr(ExecuteInstruction.Result, name): name.lower()
    for name in ("SUCCEEDED", "TIME_LIMIT", "CANCELLED", "FAULT", "REJECTED")
}


@dataclass(frozen=True)
class Attempt:
    """What came of one instruction. Stamps are seconds of ROS time."""

    touched: tuple[str, ...]  # objects in the order of their first touch
    touch_time: float | None  # stamp of the first touch
    started: float
    ended: float
    plans: int
    outcome: str  # of the action: succeeded, time_limit, cancelled, fault, rejected
    message: str


class Operator:
    """A client of policy, executor and simulator.

    ``idle`` is called while it waits, about twenty times a second; what it raises ends the wait.
    """

    def __init__(self, idle: Callable[[], None] = lambda: None, name: str = "operator") -> None:
        self._idle, self._idle_due = idle, 0.0
        self._context = rclpy.Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node(name, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._joints: JointState | None = None
        self._status: ExecutorStatus | None = None
        self._truth: SimulatorOutcome | None = None
        subscribe = self._node.create_subscription
        subscribe(JointState, "joint_states", self._take_joints, SENSOR)
        subscribe(ExecutorStatus, "executor_status", self._take_status, STATUS)
        subscribe(SimulatorOutcome, "simulator/outcome", self._take_truth, STATUS)
        self._resets = {
            node: self._node.create_client(Trigger, f"{node}/reset")
            for node in ("executor", "simulator")
        }
        self._policy_state = self._node.create_client(GetState, "policy/get_state")
        self._asked: rclpy.Future | None = None
        self._label = "unreachable"
        self._action = ActionClient(self._node, ExecuteInstruction, "execute_instruction")
        self.progress = ""  # of the running goal, in words

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._action.destroy()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def _take_joints(self, message: JointState) -> None:
        self._joints = message

    def _take_status(self, message: ExecutorStatus) -> None:
        self._status = message

    def _take_truth(self, message: SimulatorOutcome) -> None:
        self._truth = message

    def wait(self, condition: Callable[[], Any], seconds: float) -> Any:
        """Spin until ``condition`` gives something true, or time ends; returns what it gave."""
        end = time.monotonic() + seconds
        while not (result := condition()) and (now := time.monotonic()) < end:
            self._executor.spin_once(timeout_sec=_IDLE_PERIOD)
            if now >= self._idle_due:
                self._idle()
                self._idle_due = time.monotonic() + _IDLE_PERIOD
        return result

    def missing(self, recorded: tuple[str, ...] = ()) -> dict[str, str]:
        """The nodes that are not ready yet, each with the reason.

        ``recorded``: topics that a recorder must be listening to.
        """
        reasons = {}
        if self._joints is None or self._truth is None:
            reasons["simulator"] = "publishes no joint_states or no simulator/outcome"
        if self._status is None or not self._resets["executor"].service_is_ready():
            reasons["executor"] = "publishes no executor_status, so it is not active"
        state = self._read_policy_state()
        if state != "active":
            reasons["policy"] = f"its lifecycle state is {state}"
        elif not self._action.server_is_ready():
            reasons["policy"] = "does not serve the action execute_instruction"
        if not self._node.count_publishers("overlay/markers"):
            reasons["overlay"] = "publishes no overlay/markers"
        unheard = [topic for topic in recorded if not self._is_recorded(topic)]
        if unheard:
            reasons["recorder"] = f"does not listen to {', '.join(unheard)} yet"
        return reasons

    def _read_policy_state(self) -> str:
        """The lifecycle state, as of the last answer; asks again each time it is looked at."""
        if not self._policy_state.service_is_ready():
            return "unreachable"
        if self._asked is None:
            self._asked = self._policy_state.call_async(GetState.Request())
        elif self._asked.done():
            self._label = self._asked.result().current_state.label
            self._asked = None
        return self._label

    def _is_recorded(self, topic: str) -> bool:
        infos = self._node.get_subscriptions_info_by_topic(topic)
        return any(info.node_name == "recorder" for info in infos)

    def reset(self) -> None:
        """A new scene with the robot at home, the executor idle, and pictures that show it.

        The executor goes first: it must command nothing while the simulator moves the arm.
        Raises `Dm0Error` where one of them refuses or does not answer.
        """
        self._call_reset("executor")
        idle = self.wait(lambda: self._status.state == ExecutorStatus.IDLE, _ANSWER_TIME)
        if not idle:
            raise Dm0Error(f"executor: still busy after a reset: {self._status.reason}")
        # a command still under way would move the arm away from home again
        self._let_pass(_DRAIN_TIME)
        scene = self._truth.episode
        self._call_reset("simulator")
        if not self.wait(lambda: self._truth.episode > scene, _ANSWER_TIME):
            raise Dm0Error("simulator: announced no new scene after a reset")
        self._let_pass(_SETTLE_TIME)

    def _call_reset(self, node: str) -> None:
        client = self._resets[node]
        if not self.wait(client.service_is_ready, _ANSWER_TIME):
            raise Dm0Error(f"{node}: its service {client.srv_name} is not there")
        answer = self._finish(client.call_async(Trigger.Request()), client.srv_name)
        if not answer.success:
            raise Dm0Error(f"{node}: refused a reset: {answer.message}")

    def _let_pass(self, seconds: float) -> None:
        """Wait until the robot has reported joints that are this much newer."""
        until = self.now() + seconds
        passed = self.wait(
            lambda: to_seconds(self._joints.header.stamp) >= until, seconds + _ANSWER_TIME
        )
        if not passed:
            raise Dm0Error("joint_states stopped; does the simulator or driver still run?")

    def attempt(self, instruction: str, time_limit: float) -> Attempt:
        """Give one instruction and wait for a touch, the end of the action, or ``time_limit`` s.

        Raises `Dm0Error` where the action server does not answer.
        """
        self.progress = ""
        started = self.now()
        goal = ExecuteInstruction.Goal(instruction=instruction, time_limit=to_duration(time_limit))
        sent = self._action.send_goal_async(goal, feedback_callback=self._take_feedback)
        handle = self._finish(sent, "the action execute_instruction")
        if not handle.accepted:
            return Attempt((), None, started, self.now(), 0, "rejected", "the goal was refused")
        finished = handle.get_result_async()
        self.wait(lambda: self._truth.names or finished.done(), time_limit + _ANSWER_TIME)
        ended = self.now()
        truth = self._truth
        if not finished.done():
            self._finish(handle.cancel_goal_async(), "cancelling execute_instruction")
        answer = self._finish(finished, "the result of execute_instruction")
        if answer.status == GoalStatus.STATUS_UNKNOWN:
            raise Dm0Error("policy: it does not know the goal any more; was it restarted?")
        self._let_pass(_LINGER_TIME)
        result = answer.result
        return Attempt(
            touched=tuple(truth.names),
            touch_time=to_seconds(truth.header.stamp) if truth.names else None,
            started=started,
            ended=ended,
            plans=result.plans,
            outcome=_OUTCOMES.get(result.outcome, "unknown"),
            message=result.message,
        )

    def _take_feedback(self, message) -> None:
        feedback = message.feedback
        self.progress = f"{to_seconds(feedback.elapsed):.0f} s, {feedback.plans} plans"

    def _finish(self, future: rclpy.Future, what: str) -> Any:
        if not self.wait(future.done, _ANSWER_TIME):
            raise Dm0Error(f"no answer from {what} within {_ANSWER_TIME:.0f} s")
        return future.result()

    def now(self) -> float:
        """ROS time, s."""
        return self._node.get_clock().now().nanoseconds / 1e9
