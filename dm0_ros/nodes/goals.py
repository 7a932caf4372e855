# SPDX-License-Identifier: Apache-2.0
"""One goal at a time: an action whose goals become errands, with feedback, cancel, a verdict."""

import threading
import traceback
from abc import ABC, abstractmethod
from typing import Any

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.node import Node

from dm0_ros.errors import InstructionError
from dm0_ros.nodes.marking import Marker
from dm0_ros.policy.errand import Errand
from dm0_ros.policy.verdict import Outcome, Verdict

_FEEDBACK_PERIOD = 0.2  # s


class GoalServer(ABC):
    """Turns goals into errands; subclasses say into which, and fill the action's messages.

    A goal is rejected, with the reason in the log, while inactive or while another one runs: ROS
    has no room for words in a rejection. An instruction that cannot be taken is accepted and
    aborted at once with outcome REJECTED and the sentence in the result.
    """

    def __init__(self, node: Node, kind: type, name: str, owner: str) -> None:
        """``kind`` of action; ``owner`` is what activates the server, as sentences call it."""
        self._node, self._owner = node, owner
        self._lock = threading.Lock()
        self._active = False
        self._claimed = False  # by a goal, from its acceptance to its result
        self._errand: Errand | None = None
        self._goal: ServerGoalHandle | None = None
        self._idle = threading.Event()
        self._idle.set()
        self._marker = Marker(node, name)
        self._server = ActionServer(
            node,
            kind,
            name,
            execute_callback=self._execute,
            goal_callback=self._consider,
            cancel_callback=self._cancel,
            callback_group=ReentrantCallbackGroup(),
        )
        self._timer = node.create_timer(
            _FEEDBACK_PERIOD, self._tell_progress, MutuallyExclusiveCallbackGroup()
        )

    @abstractmethod
    def begin(self, request: Any) -> Errand:
        """What a goal asks for; raises `InstructionError` where it cannot be taken."""

    @abstractmethod
    def make_result(self) -> Any:
        """A result of nothing done."""

    @abstractmethod
    def run(self, errand: Errand, result: Any) -> Verdict:
        """Wait for an errand's verdict; fill the result but for outcome and message."""

    @abstractmethod
    def describe(self, errand: Errand) -> Any:
        """Feedback."""

    @property
    def errand(self) -> Errand | None:
        """What runs, if anything."""
        return self._errand

    def activate(self) -> None:
        """Accept goals from now on."""
        with self._lock:
            self._active = True

    def deactivate(self, timeout: float) -> bool:
        """Accept no goals, end the one that runs, and wait for its end; whether it came."""
        with self._lock:
            self._active = False
            self._end_if_unwanted()
        return self._idle.wait(timeout)

    def destroy(self) -> None:
        """Take the action off the graph."""
        self._node.destroy_timer(self._timer)
        self._server.destroy()
        self._marker.destroy()

    def _consider(self, _request: Any) -> GoalResponse:
        with self._lock:
            if not self._active:
                reason = f"{self._owner} is not active: activate it first"
            elif self._claimed:
                reason = "another instruction runs: cancel it or wait for its end"
            else:
                self._claimed = True
                self._idle.clear()
                return GoalResponse.ACCEPT
        self._node.get_logger().warning(f"rejected an instruction: {reason}")
        return GoalResponse.REJECT

    def _cancel(self, _goal: ServerGoalHandle) -> CancelResponse:
        with self._lock:
            if self._errand:
                self._errand.end(Outcome.CANCELLED, "cancelled on request")
        return CancelResponse.ACCEPT

    def _execute(self, goal: ServerGoalHandle) -> Any:
        result = self.make_result()
        try:
            verdict = self._pursue(goal, result)
        except Exception as error:
            # rclpy would send a result that nobody filled in, which reads as success.
            self._node.get_logger().fatal(f"an instruction failed: {traceback.format_exc()}")
            verdict = Verdict(Outcome.FAULT, f"a defect in {self._owner}: {error!r}")
        self._node.get_logger().info(f"{verdict.outcome.name}: {verdict.message}")
        self._marker.end(verdict.outcome.name.lower(), verdict.message)
        result.outcome, result.message = verdict.outcome.value, verdict.message
        with self._lock:
            _settle(goal, verdict.outcome)
            self._errand = self._goal = None
            self._claimed = False
            self._idle.set()
        return result

    def _pursue(self, goal: ServerGoalHandle, result: Any) -> Verdict:
        try:
            errand = self.begin(goal.request)
        except InstructionError as error:
            return Verdict(Outcome.REJECTED, str(error))
        with self._lock:
            self._errand, self._goal = errand, goal
            self._end_if_unwanted()
        self._marker.begin(errand.instruction)
        self._node.get_logger().info(f"instruction: {errand.instruction}")
        return self.run(errand, result)

    def _end_if_unwanted(self) -> None:
        """Also for what was asked while there was a goal, but no errand to end yet."""
        if self._errand and not self._active:
            self._errand.end(Outcome.FAULT, f"{self._owner} was deactivated")
        if self._goal and self._goal.is_cancel_requested:
            self._errand.end(Outcome.CANCELLED, "cancelled on request")

    def _tell_progress(self) -> None:
        with self._lock:
            if self._errand is not None and self._goal.is_active:
                self._goal.publish_feedback(self.describe(self._errand))


def _settle(goal: ServerGoalHandle, outcome: Outcome) -> None:
    if outcome is Outcome.SUCCEEDED:
        goal.succeed()
    elif outcome is Outcome.CANCELLED and goal.is_cancel_requested:
        goal.canceled()
    else:
        goal.abort()
