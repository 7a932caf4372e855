# SPDX-License-Identifier: Apache-2.0
"""One instruction, from the first observation to its outcome: observe, plan, publish, again."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dm0_ros.errors import ObservationError
from dm0_ros.policy.commitment import Commitments, Execution
from dm0_ros.policy.errand import Errand
from dm0_ros.policy.gathering import Gatherer
from dm0_ros.policy.protocol import Latency, Observation, Plan, Policy
from dm0_ros.policy.stillness import Stillness
from dm0_ros.policy.trace import Sight, ignore
from dm0_ros.policy.verdict import Outcome, Verdict


@dataclass(frozen=True)
class TaskSettings:
    """When to plan and when to stop. Seconds; progress in [0, 1]; distances in rad."""

    period: float  # least time between two plans
    time_limit: float
    latency: float  # from a command to what a picture of it shows
    observation_timeout: float  # how long observations may be unusable
    progress_threshold: float  # a task whose progress gets there has succeeded
    rest_time: float  # for so long plans must ask for no motion
    rest_distance: float  # which is: every row within this of the state, see `Stillness`


class Task(Errand):
    """What an arm does about an instruction.

    ``publish`` gets every plan and gives its sequence; ``witness`` is then told what it was made
    of; ``look`` says what the executor did with plans; ``now`` is the clock of stamps;
    ``find_fault`` returns why the robot cannot move, or an empty text; ``joints`` are the arm's,
    by which rest is judged.
    """

    def __init__(
        self,
        policy: Policy,
        gatherer: Gatherer,
        instruction: str,
        settings: TaskSettings,
        joints: frozenset[str],
        publish: Callable[[Plan], int],
        look: Callable[[], Execution],
        now: Callable[[], float],
        find_fault: Callable[[], str] = lambda: "",
        monotonic: Callable[[], float] = time.monotonic,
        witness: Callable[[Sight], None] = ignore,
    ) -> None:
        super().__init__(instruction, settings, monotonic)
        self._witness = witness
        self._policy, self._gatherer, self._settings = policy, gatherer, settings
        self._publish, self._look = publish, look
        self._now, self._ask_robot = now, find_fault
        spec = policy.spec
        self._stillness = Stillness(spec.action_names, spec.state_names, joints)
        self._commitments = Commitments(spec, settings.period, settings.latency)
        self._seen = -math.inf  # stamp of the last observation
        self._resting_since: float | None = None
        self.progress = math.nan
        self.subtask = ""  # what the newest plan's text says; empty where it saw none

    def run(self) -> Verdict:
        """See `Errand`. One that is given up ends with a plan that stays where the robot is."""
        self._policy.reset()
        try:
            verdict = super().run()
            given_up = verdict is self._end or verdict.outcome is Outcome.TIME_LIMIT
            if given_up and self.plans:
                self._stay()
            return verdict
        finally:
            self._policy.reset()  # else a text about what is over would still be written

    def _think(self) -> Verdict | None:
        if self._seen == self._gatherer.newest_stamp() and self._blind_since is None:
            # Nothing new to see, unless the cameras have stopped.
            self._gatherer.check(self._now())
            return None
        observation = self._gatherer.observe(self.instruction, self._now())
        self._thought = self._monotonic()
        wanted = self._policy.spec.needs_prefix
        prefix = self._commitments.commit(observation.stamp, self._look()) if wanted else None
        plan = self._policy.infer(observation, prefix, self._is_wanted)
        if verdict := self._find_end():
            return verdict
        self._note_sight()
        self._seen = observation.stamp
        execution = self._look()
        sequence = self._publish(plan)
        self._commitments.note(plan, sequence, self._now(), execution)
        self._witness(Sight(sequence, self.plans, observation, prefix, plan))
        self.plans += 1
        self.progress = plan.progress
        seen = None if plan.thought is None else plan.thought.scaffold
        self.subtask = "" if seen is None else seen.subtask
        return self._judge(plan, observation)

    def _judge(self, plan: Plan, observation: Observation) -> Verdict | None:
        if plan.progress >= self._settings.progress_threshold:
            return Verdict(Outcome.SUCCEEDED, f"the policy's progress is {plan.progress:.2f}")
        asked = self._stillness.measure(plan.values, observation.state)
        if asked >= self._settings.rest_distance:
            self._resting_since = None
            return None
        now = self._monotonic()
        if self._resting_since is None:
            self._resting_since = now
        if now - self._resting_since < self._settings.rest_time:
            return None
        return Verdict(
            Outcome.SUCCEEDED, f"plans asked for no motion for {self._settings.rest_time:g} s"
        )

    def _note_blindness(self, complaint: str) -> Verdict | None:
        self._resting_since = None
        return super()._note_blindness(complaint)

    def _stay(self) -> None:
        """One last plan: where the robot is. Without it the rest of the old plan would follow."""
        spec = self._policy.spec
        try:
            state = self._gatherer.state(self._now())
        except ObservationError as error:
            # Then the executor does not know either where the robot is, and holds by itself.
            self.complaint = str(error)
            return
        row = [state[spec.state_names.index(name)] for name in spec.action_names]
        values, latency = np.array([row]), Latency(0.0, 0.0, 0.0, 0.0)
        names, progress = spec.action_names, self.progress
        self._publish(Plan(self._now(), spec.step, spec.space, names, values, progress, latency))
        self.plans += 1

    def _is_wanted(self) -> bool:
        """Whether the plan that is being made may still be published."""
        return self._find_end() is None

    def _watch(self) -> str:
        return self._ask_robot()

    def _describe_delay(self) -> str:
        delay = f"not done within {self._settings.time_limit:g} s"
        if self.complaint:
            return f"{delay}; {self.complaint}"
        return delay if self.plans else f"{delay}; no plan was made"
