# SPDX-License-Identifier: Apache-2.0
"""Gives tasks to a live policy when they were given, and resets its executor when it was reset."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import Trigger

from dm0_ros.action import ExecuteInstruction
from dm0_ros.msg import ExecutorStatus
from dm0_ros.nodes.quality import STATUS
from dm0_ros.nodes.stamps import to_duration
from dm0_ros.nodes.stop_guard import has_stopped
from dm0_ros.replay.assignments import Assignment

_MARGIN = 1.0  # s that a live task may go on after the recorded one before it is out of time
_OUTCOMES = {
    getattr(ExecuteInstruction.Result, name): name.lower()
    for name in ("SUCCEEDED", "TIME_LIMIT", "CANCELLED", "FAULT", "REJECTED")
}


@dataclass
class Attempt:
    """What the live policy made of a task."""

    assignment: Assignment
    outcome: str = ""  # empty: it is not over
    message: str = ""
    plans: int = 0


class Prompter:
    """Does one thing after another, in the node's thread, whatever thread asks.

    ``begin`` waits for the end of the task before it, which `end` asks for; a stopped executor is
    reset first.
    """

    def __init__(self, node: Node) -> None:
        self.attempts: list[Attempt] = []
        self.faults: list[str] = []  # reasons with which the executor stopped
        self._node = node
        self._client = ActionClient(node, ExecuteInstruction, "execute_instruction")
        self._resetting = node.create_client(Trigger, "executor/reset")
        self._waker = node.create_guard_condition(self._go_on)
        self._wishes: deque[Callable[[], bool]] = deque()
        self._waiting: Future | None = None  # an answer that comes before anything else
        self._goal: Any = None  # the handle of the task that runs
        self._status = ExecutorStatus()
        node.create_subscription(ExecutorStatus, "executor_status", self._take_status, STATUS)

    @property
    def dropped(self) -> int:
        """Plans that the live executor refused."""
        return self._status.dropped

    @property
    def idle(self) -> bool:
        """Whether everything that was asked for is done."""
        return not self._wishes and self._waiting is None and self._goal is None

    def reset(self) -> None:
        """Reset the executor."""
        self._wish(self._reset)

    def begin(self, assignment: Assignment) -> None:
        """Give a task to the policy."""
        self._wish(partial(self._begin, assignment))

    def end(self, _assignment: Assignment) -> None:
        """The recorded task is over: so is the live one."""
        self._wish(self._end)

    def _wish(self, step: Callable[[], bool]) -> None:
        self._wishes.append(step)
        self._waker.trigger()

    def _go_on(self) -> None:
        """Steps that are not possible yet are tried again when something was answered."""
        while self._wishes and self._waiting is None and self._wishes[0]():
            self._wishes.popleft()

    def _await(self, future: Future, take: Callable[[Any], None]) -> None:
        def done(answer: Future) -> None:
            self._waiting = None
            take(answer.result())
            self._waker.trigger()

        self._waiting = future
        future.add_done_callback(done)

    def _reset(self) -> bool:
        self._await(self._resetting.call_async(Trigger.Request()), lambda _answer: None)
        return True

    def _begin(self, assignment: Assignment) -> bool:
        if self._goal is not None:
            return False
        if has_stopped(self._status):
            self._status.needs_reset, self._status.state = False, ExecutorStatus.IDLE
            self._reset()
            return False
        attempt = Attempt(assignment)
        self.attempts.append(attempt)
        goal = ExecuteInstruction.Goal(instruction=assignment.instruction)
        goal.time_limit = to_duration(assignment.end - assignment.begin + _MARGIN)
        self._await(self._client.send_goal_async(goal), partial(self._take_answer, attempt))
        return True

    def _take_answer(self, attempt: Attempt, handle: Any) -> None:
        if not handle.accepted:
            attempt.outcome, attempt.message = "rejected", "the policy's log says why"
            return
        self._goal = handle
        result = handle.get_result_async()
        result.add_done_callback(lambda future: self._take_result(attempt, future.result().result))

    def _take_result(self, attempt: Attempt, result: ExecuteInstruction.Result) -> None:
        attempt.outcome = _OUTCOMES.get(result.outcome, "unknown")
        attempt.message, attempt.plans = result.message, result.plans
        self._goal = None
        self._waker.trigger()

    def _end(self) -> bool:
        if self._goal is not None:
            self._await(self._goal.cancel_goal_async(), lambda _answer: None)
        return True

    def _take_status(self, message: ExecutorStatus) -> None:
        stopped = has_stopped(self._status)
        self._status = message
        if has_stopped(self._status) and not stopped:
            self.faults.append(message.reason)
