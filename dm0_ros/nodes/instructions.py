# SPDX-License-Identifier: Apache-2.0
"""The action `execute_instruction`: one task at a time, with feedback, cancel and an outcome."""

import threading
import traceback
from collections.abc import Callable

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.node import Node

from dm0_ros.action import ExecuteInstruction
from dm0_ros.errors import InstructionError
from dm0_ros.nodes.stamps import to_duration, to_seconds
from dm0_ros.policy.task import Task
from dm0_ros.policy.verdict import Outcome, Verdict

_FEEDBACK_PERIOD = 0.2  # s


class InstructionServer:
    """Turns goals into tasks.

    A goal is rejected, with the reason in the log, while inactive or while another one runs: ROS
    has no room for words in a rejection. An instruction that the policy cannot take is accepted
    and aborted at once with outcome REJECTED and the sentence in the result.
    """

    def __init__(
        self,
        node: Node,
        check: Callable[[str], None],
        make_task: Callable[[str, float], Task],
        run: Callable[[Task], Verdict],
    ) -> None:
        """``check`` raises `InstructionError`; ``make_task`` gets instruction and limit (s, 0:
        none given); ``run`` runs a task in the policy's thread and waits for its verdict."""
        self._node, self._check, self._make_task, self._run = node, check, make_task, run
        self._lock = threading.Lock()
        self._active = False
        self._claimed = False
        self._task: Task | None = None
        self._goal: ServerGoalHandle | None = None
        self._idle = threading.Event()
        self._idle.set()
        self._server = ActionServer(
            node,
            ExecuteInstruction,
            "execute_instruction",
            execute_callback=self._execute,
            goal_callback=self._consider,
            cancel_callback=self._cancel,
            callback_group=ReentrantCallbackGroup(),
        )
        self._timer = node.create_timer(
            _FEEDBACK_PERIOD, self._tell_progress, MutuallyExclusiveCallbackGroup()
        )

    @property
    def task(self) -> Task | None:
        """The task that runs, if any."""
        return self._task

    def activate(self) -> None:
        """Accept goals from now on."""
        with self._lock:
            self._active = True

    def deactivate(self, reason: str, timeout: float) -> bool:
        """Accept no goals, end the one that runs, and wait for its end; whether it came."""
        with self._lock:
            self._active = False
            if self._task:
                self._task.end(Outcome.FAULT, reason)
        return self._idle.wait(timeout)

    def destroy(self) -> None:
        """Take the action off the graph."""
        self._node.destroy_timer(self._timer)
        self._server.destroy()

    def _consider(self, _request: ExecuteInstruction.Goal) -> GoalResponse:
        with self._lock:
            if not self._active:
                reason = "the policy is not active: activate it first"
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
            if self._task:
                self._task.end(Outcome.CANCELLED, "cancelled on request")
        return CancelResponse.ACCEPT

    def _execute(self, goal: ServerGoalHandle) -> ExecuteInstruction.Result:
        result = ExecuteInstruction.Result(progress=float("nan"))
        try:
            verdict = self._pursue(goal, result)
        except Exception as error:
            # rclpy would send a result that nobody filled in, which reads as success.
            self._node.get_logger().fatal(f"a task failed: {traceback.format_exc()}")
            verdict = Verdict(Outcome.FAULT, f"a defect in the policy node: {error!r}")
        self._node.get_logger().info(f"{verdict.outcome.name}: {verdict.message}")
        result.outcome, result.message = verdict.outcome.value, verdict.message
        with self._lock:
            self._settle(goal, verdict.outcome)
            self._task = self._goal = None
            self._claimed = False
            self._idle.set()
        return result

    def _settle(self, goal: ServerGoalHandle, outcome: Outcome) -> None:
        if outcome is Outcome.SUCCEEDED:
            goal.succeed()
        elif outcome is Outcome.CANCELLED and goal.is_cancel_requested:
            goal.canceled()
        else:
            goal.abort()

    def _pursue(self, goal: ServerGoalHandle, result: ExecuteInstruction.Result) -> Verdict:
        request = goal.request
        try:
            self._check(request.instruction)
        except InstructionError as error:
            return Verdict(Outcome.REJECTED, str(error))
        task = self._make_task(request.instruction, to_seconds(request.time_limit))
        with self._lock:
            self._task, self._goal = task, goal
            if not self._active:
                task.end(Outcome.FAULT, "the policy was deactivated")
            # A cancel that came before there was a task to end.
            if goal.is_cancel_requested:
                task.end(Outcome.CANCELLED, "cancelled on request")
        self._node.get_logger().info(f"instruction: {request.instruction}")
        verdict = self._run(task)
        result.progress, result.plans = task.progress, task.plans
        return verdict

    def _tell_progress(self) -> None:
        with self._lock:
            task, goal = self._task, self._goal
            if task is None or not goal.is_active:
                return
            feedback = ExecuteInstruction.Feedback(progress=task.progress, plans=task.plans)
            feedback.elapsed = to_duration(task.elapsed)
            feedback.subtask = task.subtask
            goal.publish_feedback(feedback)
