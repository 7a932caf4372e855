# SPDX-License-Identifier: Apache-2.0
"""One instruction, from the first observation to its outcome: observe, plan, publish, again."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dm0_ros.errors import Dm0Error, InstructionError, ObservationError
from dm0_ros.policy.commitment import Commitments, Execution
from dm0_ros.policy.gathering import Gatherer
from dm0_ros.policy.protocol import Latency, Observation, Plan, Policy
from dm0_ros.policy.stillness import Stillness
from dm0_ros.policy.verdict import Outcome, Verdict

_POLL = 0.005  # s between looks for a new picture


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


class Task:
    """Pursues one instruction in the caller's thread. Its counters may be read from any thread.

    ``publish`` gets every plan and gives its sequence; ``look`` says what the executor did with
    them; ``now`` is the clock of stamps; ``find_fault`` returns why the
    robot cannot move, or an empty text; ``joints`` are the arm's, by which rest is judged.
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
    ) -> None:
        self._policy, self._gatherer, self._settings = policy, gatherer, settings
        self._publish, self._look = publish, look
        self._now, self._find_fault = now, find_fault
        self._monotonic = monotonic
        spec = policy.spec
        self._stillness = Stillness(spec.action_names, spec.state_names, joints)
        self._commitments = Commitments(spec, settings.period, settings.latency)
        self._end: Verdict | None = None
        self._ended = threading.Event()
        self._begun = monotonic()
        self._planned = -math.inf  # when the last plan was begun
        self._seen = -math.inf  # stamp of the last observation
        self._blind_since: float | None = None
        self._resting_since: float | None = None
        self.instruction = instruction
        self.plans = 0
        self.progress = math.nan
        self.complaint = ""  # why the newest observation cannot be used

    @property
    def elapsed(self) -> float:
        """Seconds since the task began."""
        return self._monotonic() - self._begun

    def end(self, outcome: Outcome, message: str) -> None:
        """Ask the task to end, from any thread; nothing is planned or published afterwards,
        but for the plan that stays where the robot is."""
        if self._end is None:
            self._end = Verdict(outcome, message)
        self._ended.set()

    def run(self) -> Verdict:
        """Pursue the instruction until it is done, or cannot be."""
        self._policy.reset()
        while (verdict := self.step()) is None:
            self._ended.wait(_POLL)
        given_up = verdict is self._end or verdict.outcome is Outcome.TIME_LIMIT
        if given_up and self.plans:
            self._stay()
        return verdict

    def step(self) -> Verdict | None:
        """Plan once if there is something new to plan from; returns the end if it has come."""
        limit = self._settings.time_limit
        if self._end:
            return self._end
        if self.elapsed >= limit:
            return Verdict(Outcome.TIME_LIMIT, f"not done within {limit:g} s{self._hint()}")
        if fault := self._find_fault():
            return Verdict(Outcome.FAULT, fault)
        if self._monotonic() - self._planned < self._settings.period:
            return None
        try:
            return self._plan()
        except ObservationError as error:
            return self._note_blindness(str(error))
        except InstructionError as error:
            return Verdict(Outcome.REJECTED, str(error))
        except Dm0Error as error:
            return Verdict(Outcome.FAULT, str(error))

    def _plan(self) -> Verdict | None:
        if self._seen == self._gatherer.newest_stamp() and self._blind_since is None:
            # Nothing new to see, unless the cameras have stopped.
            self._gatherer.check(self._now())
            return None
        observation = self._gatherer.observe(self.instruction, self._now())
        self._planned = self._monotonic()
        wanted = self._policy.spec.needs_prefix
        prefix = self._commitments.commit(observation.stamp, self._look()) if wanted else None
        plan = self._policy.infer(observation, prefix)
        if self._end:
            return self._end
        self._blind_since, self.complaint = None, ""
        self._seen = observation.stamp
        execution = self._look()
        self._commitments.note(plan, self._publish(plan), self._now(), execution)
        self.plans += 1
        self.progress = plan.progress
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
        now = self._monotonic()
        self.complaint = complaint
        self._resting_since = None
        if self._blind_since is None:
            self._blind_since = now
        if now - self._blind_since < self._settings.observation_timeout:
            return None
        return Verdict(Outcome.FAULT, complaint)

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

    def _hint(self) -> str:
        if self.complaint:
            return f"; {self.complaint}"
        return "" if self.plans else "; no plan was made"
