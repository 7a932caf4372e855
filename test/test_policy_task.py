# SPDX-License-Identifier: Apache-2.0
"""One instruction from its first observation to its outcome, on a clock that the test moves."""

import dataclasses
import math

import numpy as np
import pytest

from dm0_ros.errors import InstructionError, PlanError
from dm0_ros.policy.commitment import Execution
from dm0_ros.policy.gathering import Gatherer
from dm0_ros.policy.protocol import Latency, Plan, PolicySpec, always
from dm0_ros.policy.reasoning import Thought
from dm0_ros.policy.task import Task, TaskSettings
from dm0_ros.policy.verdict import Outcome
from dm0_ros.robots.loading import load_robot
from dm0_ros.robots.spec import Space
from dm0_ros.scaffold.content import Scaffold

ROBOT = load_robot("franka")
NAMES = ROBOT.column_names
SPEC = PolicySpec("test", ("high",), NAMES, NAMES, Space.JOINT_POSITION, 3, 0.1)
SETTINGS = TaskSettings(
    period=0.2,
    time_limit=20.0,
    latency=0.0,
    observation_timeout=1.0,
    progress_threshold=0.9,
    rest_time=1.5,
    rest_distance=0.05,
)


class ScriptedPolicy:
    """Asks for a motion of ``motion`` rad in every joint, and opens the gripper."""

    spec = SPEC

    def __init__(self):
        self.motion, self.progress, self.error = 0.5, math.nan, None
        self.seen, self.resets, self.while_planning = [], 0, lambda: None
        self.thought, self.wanted = None, []

    def reset(self):
        self.resets += 1

    def infer(self, observation, prefix=None, wanted=always):
        self.seen.append(observation)
        self.while_planning()
        self.wanted.append(wanted())
        if self.error:
            raise self.error
        values = np.tile(observation.state + self.motion, (3, 1))
        values[:, -1] = 0.08
        latency = Latency(1.0, 2.0, 0.0, 3.0)
        names = SPEC.action_names
        rest = self.progress, latency, self.thought
        return Plan(observation.stamp, 0.1, SPEC.space, names, values, *rest)


class Bench:
    """A task, the sensors it reads, and the time."""

    def __init__(self, **changes):
        self.time, self.fault = 100.0, ""
        self.policy, self.plans = ScriptedPolicy(), []
        self.gatherer = Gatherer(SPEC, ROBOT)
        self.task = Task(
            self.policy,
            self.gatherer,
            "touch it",
            dataclasses.replace(SETTINGS, **changes),
            frozenset(ROBOT.joint_names),
            publish=self.publish,
            look=lambda: Execution(0, 0, True),
            now=lambda: self.time,
            find_fault=lambda: self.fault,
            monotonic=lambda: self.time,
        )
        self.see()

    def publish(self, plan):
        self.plans.append(plan)
        return len(self.plans)

    def see(self):
        self.gatherer.add_picture("high", self.time, lambda: np.zeros((2, 2, 3), np.uint8))
        self.feel()

    def feel(self, position=0.1):
        self.gatherer.add_joints(self.time, NAMES, [position] * len(NAMES))

    def run(self, seconds, see=True, tick=0.05):
        for _ in range(round(seconds / tick)):
            self.time += tick
            if see:
                self.see()
            if verdict := self.task.step():
                return verdict
        return None


def test_it_plans_again_and_again_no_faster_than_its_period():
    bench = Bench(period=0.19)
    assert bench.run(4.0) is None
    assert len(bench.plans) == pytest.approx(20, abs=1) == bench.task.plans
    assert bench.plans[0].start == bench.policy.seen[0].stamp


def test_it_does_not_plan_twice_from_one_picture():
    bench = Bench(period=0.0)
    bench.task.step()
    for _ in range(4):
        bench.time += 0.02
        bench.feel()
        assert bench.task.step() is None
    assert len(bench.plans) == 1


def test_a_picture_is_decoded_once_however_often_it_looks():
    bench, looks = Bench(period=0.0), []
    picture = np.zeros((2, 2, 3), np.uint8)
    bench.gatherer.add_picture("high", bench.time, lambda: looks.append(0) or picture)
    for _ in range(5):
        assert bench.task.step() is None
    assert len(looks) == 1 == len(bench.plans)


def test_the_subtask_is_what_the_newest_plan_saw():
    bench = Bench()
    bench.run(0.3)
    assert bench.task.subtask == ""
    good = Thought("", (), Scaffold("go on"), "", "touch it", 1.0, 1.0, "high", 2, 2, 3.0)
    refused = dataclasses.replace(good, scaffold=None, rejection="it is garbage")
    for thought, subtask in ((good, "go on"), (refused, ""), (good, "go on"), (None, "")):
        bench.policy.thought = thought
        bench.run(0.5)
        assert bench.task.subtask == subtask


def test_time_limit():
    bench = Bench(time_limit=3.0)
    verdict = bench.run(10.0)
    assert verdict.outcome is Outcome.TIME_LIMIT and "3 s" in verdict.message
    assert bench.task.elapsed == pytest.approx(3.0, abs=0.1)


def test_progress_ends_it():
    bench = Bench()
    bench.policy.progress = 0.5
    assert bench.run(1.0) is None
    bench.policy.progress = 0.95
    assert bench.run(1.0).outcome is Outcome.SUCCEEDED
    assert bench.task.progress == 0.95


def test_rest_ends_it_only_when_it_lasts_and_whatever_the_gripper_does():
    bench = Bench(rest_time=1.5)
    bench.policy.motion = 0.01
    assert bench.run(1.2) is None
    bench.policy.motion = 0.5
    assert bench.run(1.0) is None
    bench.policy.motion = 0.01
    assert bench.run(1.2) is None
    assert bench.run(1.0).outcome is Outcome.SUCCEEDED


def test_stale_picture_ends_it_after_a_grace_and_gives_no_plan_meanwhile():
    bench = Bench(observation_timeout=1.0)
    assert bench.run(1.0) is None
    known = len(bench.plans)
    verdict = bench.run(5.0, see=False)
    assert verdict.outcome is Outcome.FAULT and "camera 'high'" in verdict.message
    allowed = ROBOT.cameras[0].max_age
    assert all(plan.start + allowed >= 101.0 for plan in bench.plans[known:])
    assert len(bench.plans) - known <= 1


def test_short_blindness_is_forgiven_and_complained_about():
    bench = Bench(observation_timeout=1.0)
    assert bench.run(0.8, see=False) is None
    assert "high" in bench.task.complaint
    assert bench.run(1.0) is None
    assert bench.task.complaint == "" and bench.plans


def test_fault_of_the_executor_ends_it():
    bench = Bench()
    assert bench.run(1.0) is None
    bench.fault = "the executor holds: stop requested"
    verdict = bench.run(1.0)
    assert (verdict.outcome, verdict.message) == (Outcome.FAULT, bench.fault)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(PlanError("not finite"), Outcome.FAULT), (InstructionError("long"), Outcome.REJECTED)],
)
def test_refusals_of_the_policy_end_it(error, outcome):
    bench = Bench()
    bench.policy.error = error
    verdict = bench.run(1.0)
    assert (verdict.outcome, verdict.message) == (outcome, str(error))
    assert not bench.plans


def test_plan_that_was_overtaken_by_a_cancel_is_not_published():
    bench = Bench()
    bench.policy.while_planning = lambda: bench.task.end(Outcome.CANCELLED, "enough")
    assert bench.run(1.0).outcome is Outcome.CANCELLED
    assert not bench.plans and bench.policy.wanted == [False]


def test_cancel_leaves_a_plan_to_stay_where_the_robot_is():
    bench = Bench()
    assert bench.run(0.5) is None
    bench.feel(0.3)
    bench.task.end(Outcome.CANCELLED, "enough")
    verdict = bench.task.run()
    assert (verdict.outcome, verdict.message) == (Outcome.CANCELLED, "enough")
    last = bench.plans[-1]
    assert last.values.shape == (1, len(NAMES)) and last.start == bench.time
    np.testing.assert_allclose(last.values[0, :-1], 0.3)
    assert bench.task.plans == len(bench.plans)


def test_nothing_is_thought_about_an_instruction_that_is_over():
    bench = Bench()
    bench.policy.while_planning = lambda: bench.task.end(Outcome.CANCELLED, "enough")
    bench.task.run()
    assert bench.policy.resets == 2, "once before, once behind"
    bench = Bench()
    bench.policy.while_planning = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        bench.task.run()
    assert bench.policy.resets == 2


def test_cancel_without_joint_states_publishes_nothing_more():
    bench = Bench()
    assert bench.run(0.5) is None
    bench.time += 10.0
    count = len(bench.plans)
    bench.task.end(Outcome.CANCELLED, "enough")
    assert bench.task.run().outcome is Outcome.CANCELLED
    assert len(bench.plans) == count and "old" in bench.task.complaint


def test_plan_that_was_overtaken_by_a_stop_is_not_published():
    bench = Bench()

    def stop():
        bench.fault = "the executor has stopped: stop requested"

    bench.policy.while_planning = stop
    verdict = bench.run(1.0)
    assert (verdict.outcome, verdict.message) == (Outcome.FAULT, bench.fault)
    assert not bench.plans and bench.policy.wanted == [False]


def test_plan_that_was_overtaken_by_the_time_limit_is_not_published():
    bench = Bench(time_limit=3.0)

    def take_long():
        bench.time += 5.0
        bench.feel(0.3)

    bench.policy.while_planning = take_long
    assert bench.run(1.0).outcome is Outcome.TIME_LIMIT
    assert not bench.plans and bench.policy.wanted == [False]
