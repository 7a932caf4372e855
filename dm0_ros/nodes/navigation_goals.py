# SPDX-License-Identifier: Apache-2.0
"""The action `navigate_to_object`: one mission at a time, with feedback, cancel and metrics."""

import threading
import traceback
from typing import Protocol

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.node import Node

from dm0_ros.action import NavigateToObject
from dm0_ros.navigation.metrics import Result
from dm0_ros.navigation.mission import Mission
from dm0_ros.nodes.stamps import to_duration, to_seconds
from dm0_ros.policy.verdict import Outcome, Verdict

_FEEDBACK_PERIOD = 0.2  # s
_NAN = float("nan")


class Host(Protocol):
    """What the action needs of its node."""

    def check(self, instruction: str) -> str:
        """Why the instruction cannot be taken, or ''."""

    def make_mission(self, instruction: str, time_limit: float) -> Mission:
        """A mission; ``time_limit`` s, 0: none given."""

    def run(self, mission: Mission) -> Verdict:
        """Run a mission in the policy's thread, and wait for its verdict."""

    def travelled(self) -> float:
        """Length of the way driven in this mission, by odometry, m."""

    def motion(self) -> tuple[str, str]:
        """State of the base and why."""

    def judge(self, stopped: bool) -> Result | None:
        """Metrics of the mission, where someone knows the truth."""


class NavigationServer:
    """Turns goals into missions.

    A goal is rejected, with the reason in the log, while inactive or while another one runs: ROS
    has no room for words in a rejection. An instruction that cannot be taken is accepted and
    aborted at once with outcome REJECTED and the sentence in the result.
    """

    def __init__(self, node: Node, host: Host) -> None:
        self._node, self._host = node, host
        self._lock = threading.Lock()
        self._active = self._claimed = False
        self._mission: Mission | None = None
        self._goal: ServerGoalHandle | None = None
        self._idle = threading.Event()
        self._idle.set()
        self._server = ActionServer(
            node,
            NavigateToObject,
            "navigate_to_object",
            execute_callback=self._execute,
            goal_callback=self._consider,
            cancel_callback=self._cancel,
            callback_group=ReentrantCallbackGroup(),
        )
        self._timer = node.create_timer(
            _FEEDBACK_PERIOD, self._tell_progress, MutuallyExclusiveCallbackGroup()
        )

    def activate(self) -> None:
        """Accept goals from now on."""
        with self._lock:
            self._active = True

    def deactivate(self, reason: str, timeout: float) -> bool:
        """Accept no goals, end the one that runs, and wait for its end; whether it came."""
        with self._lock:
            self._active = False
            if self._mission:
                self._mission.end(Outcome.FAULT, reason)
        return self._idle.wait(timeout)

    def destroy(self) -> None:
        """Take the action off the graph."""
        self._node.destroy_timer(self._timer)
        self._server.destroy()

    def _consider(self, _request: NavigateToObject.Goal) -> GoalResponse:
        with self._lock:
            if not self._active:
                reason = "the navigator is not active: activate it first"
            elif self._claimed:
                reason = "another goal runs: cancel it or wait for its end"
            else:
                self._claimed = True
                self._idle.clear()
                return GoalResponse.ACCEPT
        self._node.get_logger().warning(f"rejected a goal: {reason}")
        return GoalResponse.REJECT

    def _cancel(self, _goal: ServerGoalHandle) -> CancelResponse:
        with self._lock:
            if self._mission:
                self._mission.end(Outcome.CANCELLED, "cancelled on request")
        return CancelResponse.ACCEPT

    def _execute(self, goal: ServerGoalHandle) -> NavigateToObject.Result:
        result = NavigateToObject.Result(
            success=_NAN, spl=_NAN, soft_spl=_NAN, start_distance=_NAN, distance_to_goal=_NAN
        )
        try:
            verdict = self._pursue(goal, result)
        except Exception as error:
            # rclpy would send a result that nobody filled in, which reads as success.
            self._node.get_logger().fatal(f"a mission failed: {traceback.format_exc()}")
            verdict = Verdict(Outcome.FAULT, f"a defect in the navigator: {error!r}")
        self._node.get_logger().info(f"{verdict.outcome.name}: {verdict.message}")
        result.outcome, result.message = verdict.outcome.value, verdict.message
        with self._lock:
            if verdict.outcome is Outcome.SUCCEEDED:
                goal.succeed()
            elif verdict.outcome is Outcome.CANCELLED and goal.is_cancel_requested:
                goal.canceled()
            else:
                goal.abort()
            self._mission = self._goal = None
            self._claimed = False
            self._idle.set()
        return result

    def _pursue(self, goal: ServerGoalHandle, result: NavigateToObject.Result) -> Verdict:
        request = goal.request
        if complaint := self._host.check(request.instruction):
            return Verdict(Outcome.REJECTED, complaint)
        mission = self._host.make_mission(request.instruction, to_seconds(request.time_limit))
        with self._lock:
            self._mission, self._goal = mission, goal
            if not self._active:
                mission.end(Outcome.FAULT, "the navigator was deactivated")
            # A cancel that came before there was a mission to end.
            if goal.is_cancel_requested:
                mission.end(Outcome.CANCELLED, "cancelled on request")
        self._node.get_logger().info(f"instruction: {request.instruction}")
        verdict = self._host.run(mission)
        result.plans, result.elapsed = mission.plans, to_duration(mission.elapsed)
        result.travelled = self._host.travelled()
        judged = self._host.judge(verdict.outcome is Outcome.SUCCEEDED)
        if judged is not None:
            result.judged = True
            result.success, result.spl = float(judged.success), judged.spl
            result.soft_spl = judged.soft_spl
            result.start_distance = judged.start_distance
            result.distance_to_goal = judged.distance
        return verdict

    def _tell_progress(self) -> None:
        with self._lock:
            mission, goal = self._mission, self._goal
            if mission is None or not goal.is_active:
                return
            state, reason = self._host.motion()
            goal.publish_feedback(
                NavigateToObject.Feedback(
                    state=state,
                    reason=reason,
                    plans=mission.plans,
                    elapsed=to_duration(mission.elapsed),
                    travelled=self._host.travelled(),
                )
            )
