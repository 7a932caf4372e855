# SPDX-License-Identifier: Apache-2.0
"""The action `navigate_to_object`: goals become missions of a base, judged where someone can."""

from typing import Protocol

from rclpy.node import Node

from dm0_ros.action import NavigateToObject
from dm0_ros.navigation.metrics import Result
from dm0_ros.navigation.mission import Mission
from dm0_ros.nodes.goals import GoalServer
from dm0_ros.nodes.stamps import to_duration, to_seconds
from dm0_ros.policy.verdict import Outcome, Verdict

_NAN = float("nan")


class Host(Protocol):
    """What the action needs of its node."""

    def make_mission(self, instruction: str, time_limit: float) -> Mission:
        """A mission; ``time_limit`` s, 0: none given. Raises `InstructionError`."""

    def run(self, mission: Mission) -> Verdict:
        """Run a mission in the policy's thread, and wait for its verdict."""

    def travelled(self) -> float:
        """Length of the way driven in this mission, by odometry, m."""

    def motion(self) -> tuple[str, str]:
        """State of the base and why."""

    def judge(self, stopped: bool) -> Result | None:
        """Metrics of the mission, where someone knows the truth."""


class NavigationServer(GoalServer):
    """See `GoalServer`; the errands are missions."""

    def __init__(self, node: Node, host: Host) -> None:
        super().__init__(node, NavigateToObject, "navigate_to_object", "the navigator")
        self._host = host

    def begin(self, request: NavigateToObject.Goal) -> Mission:
        """See `GoalServer`."""
        return self._host.make_mission(request.instruction, to_seconds(request.time_limit))

    def make_result(self) -> NavigateToObject.Result:
        """See `GoalServer`."""
        return NavigateToObject.Result(
            success=_NAN, spl=_NAN, soft_spl=_NAN, start_distance=_NAN, distance_to_goal=_NAN
        )

    def run(self, errand: Mission, result: NavigateToObject.Result) -> Verdict:
        """See `GoalServer`."""
        verdict = self._host.run(errand)
        result.plans, result.elapsed = errand.plans, to_duration(errand.elapsed)
        result.travelled = self._host.travelled()
        judged = self._host.judge(verdict.outcome is Outcome.SUCCEEDED)
        if judged is not None:
            result.judged = True
            result.success, result.spl = float(judged.success), judged.spl
            result.soft_spl = judged.soft_spl
            result.start_distance = judged.start_distance
            result.distance_to_goal = judged.distance
        return verdict

    def describe(self, errand: Mission) -> NavigateToObject.Feedback:
        """See `GoalServer`."""
        state, reason = self._host.motion()
        return NavigateToObject.Feedback(
            state=state,
            reason=reason,
            plans=errand.plans,
            elapsed=to_duration(errand.elapsed),
            travelled=self._host.travelled(),
        )
