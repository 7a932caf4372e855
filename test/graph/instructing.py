# SPDX-License-Identifier: Apache-2.0
"""Who gives a policy its instructions, as a test wants them given."""

from rclpy.action import ActionClient

from dm0_ros.action import ExecuteInstruction
from dm0_ros.nodes.stamps import to_duration


class Client:
    """Gives one instruction at a time, and remembers the feedback."""

    def __init__(self, graph) -> None:
        self._graph = graph
        self._action = ActionClient(graph.node, ExecuteInstruction, "execute_instruction")
        self.feedback = []

    def send(self, instruction="touch the red block", time_limit=0.0):
        """The goal handle, accepted or not."""
        self._graph.wait(self._action.server_is_ready, "the action server")
        goal = ExecuteInstruction.Goal(instruction=instruction)
        goal.time_limit = to_duration(time_limit)
        sent = self._action.send_goal_async(goal, lambda m: self.feedback.append(m.feedback))
        self._graph.wait(sent.done, "an answer to a goal")
        return sent.result()

    def result(self, handle):
        """Status and result of a goal."""
        future = handle.get_result_async()
        self._graph.wait(future.done, "a result")
        return future.result().status, future.result().result
