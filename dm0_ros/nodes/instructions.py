# SPDX-License-Identifier: Apache-2.0
"""The action `execute_instruction`: goals become tasks of an arm."""

from collections.abc import Callable

from rclpy.node import Node

from dm0_ros.action import ExecuteInstruction
from dm0_ros.nodes.goals import GoalServer
from dm0_ros.nodes.stamps import to_duration, to_seconds
from dm0_ros.policy.task import Task
from dm0_ros.policy.verdict import Verdict


class InstructionServer(GoalServer):
    """See `GoalServer`; the errands are tasks."""

    def __init__(
        self,
        node: Node,
        make_task: Callable[[str, float], Task],
        run: Callable[[Task], Verdict],
    ) -> None:
        """``make_task`` gets instruction and limit (s, 0: none given) and raises
        `InstructionError`; ``run`` runs a task in the policy's thread and waits for its verdict.
        """
        super().__init__(node, ExecuteInstruction, "execute_instruction", "the policy")
        self._make_task, self._run = make_task, run

    def begin(self, request: ExecuteInstruction.Goal) -> Task:
        """See `GoalServer`."""
        return self._make_task(request.instruction, to_seconds(request.time_limit))

    def make_result(self) -> ExecuteInstruction.Result:
        """See `GoalServer`."""
        return ExecuteInstruction.Result(progress=float("nan"))

    def run(self, errand: Task, result: ExecuteInstruction.Result) -> Verdict:
        """See `GoalServer`."""
        verdict = self._run(errand)
        result.progress, result.plans = errand.progress, errand.plans
        return verdict

    def describe(self, errand: Task) -> ExecuteInstruction.Feedback:
        """See `GoalServer`."""
        return ExecuteInstruction.Feedback(
            progress=errand.progress,
            subtask=errand.subtask,
            plans=errand.plans,
            elapsed=to_duration(errand.elapsed),
        )
