# SPDX-License-Identifier: Apache-2.0
"""What a plan leaves behind is enough to make it again: with guidance, with text, by the bit."""

import dataclasses
import json
import math
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm0_ros.engine import EngineOptions
from dm0_ros.errors import Dm0Error
from dm0_ros.model.guidance import Guidance
from dm0_ros.policy.commitment import Execution
from dm0_ros.policy.gathering import Gatherer
from dm0_ros.policy.protocol import Latency, Observation, Plan, Prefix, always
from dm0_ros.policy.reasoning import Memory, ReasoningMode, ReasoningOptions
from dm0_ros.policy.registry import load_policy
from dm0_ros.policy.task import Task, TaskSettings
from dm0_ros.policy.trace import Facts, Sight, Trace, digest, digest_checkpoint, digest_robot
from dm0_ros.robots.loading import as_simulated, load_robot

ROBOT = load_robot("franka")
COLUMNS = ROBOT.layout("joint").columns
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
STAMPS = st.dictionaries(st.text(max_size=5), FLOATS, max_size=3)
PREFIXES = st.builds(
    lambda rows, delay: Prefix(np.array(rows), delay, delay + 1),
    st.lists(st.lists(FLOATS, min_size=2, max_size=2), min_size=1, max_size=4),
    st.integers(0, 50),
)
PATIENCE = 60.0  # s


def observe(seed=0, stamp=12.5, instruction="touch the red block"):
    random = np.random.default_rng(seed)
    slots = "left_hand", "right_hand"
    pictures = {slot: random.integers(0, 256, (70, 90, 3), dtype=np.uint8) for slot in slots}
    return Observation(pictures, random.normal(size=len(COLUMNS)), instruction, stamp)


@given(
    st.integers(0, 2**62),
    STAMPS,
    STAMPS,
    st.none() | PREFIXES,
    st.none() | st.lists(st.integers()),
)
def test_traces_come_back_by_the_bit(number, stamps, joint_stamps, prefix, text):
    trace = Trace(
        number, 3, stamps, joint_stamps, 7, prefix, None if text is None else tuple(text)
    )
    found = Trace.parse(trace.dump())
    assert dataclasses.replace(found, prefix=None) == dataclasses.replace(trace, prefix=None)
    if prefix is not None:
        np.testing.assert_array_equal(found.prefix.rows, prefix.rows)
        assert (found.prefix.delay, found.prefix.executed) == (prefix.delay, prefix.executed)


def test_a_later_version_may_say_more_but_not_less():
    trace = Trace(1, 0, {}, {}, 0, None, None)
    content = json.loads(trace.dump())
    assert Trace.parse(json.dumps({**content, "mood": "good"})) == trace
    del content["index"]
    with pytest.raises(Dm0Error, match="policy_trace: lacks index; another version wrote it"):
        Trace.parse(json.dumps(content))


def test_facts_come_back():
    names = [field.name for field in dataclasses.fields(Facts)]
    facts = Facts(**{name: number for number, name in enumerate(names)})
    assert Facts.parse(facts.dump()) == facts


def test_the_digest_tells_every_difference():
    base = observe()
    changed = {slot: picture.copy() for slot, picture in base.pictures.items()}
    changed["right_hand"][-1, -1, -1] ^= 1
    state = base.state.copy()
    state[-1] = np.nextafter(state[-1], 9)
    others = [
        dataclasses.replace(base, pictures=changed),
        dataclasses.replace(base, state=state),
        dataclasses.replace(base, instruction="touch the red blocks"),
        dataclasses.replace(
            base, pictures={s: p.reshape(90, 70, 3) for s, p in base.pictures.items()}
        ),
    ]
    assert len({digest(one) for one in [base, *others]}) == 5
    # when it was is no matter for the network
    assert digest(dataclasses.replace(base, stamp=1.0)) == digest(base)


def test_digests_of_checkpoint_and_robot(tiny_checkpoint):
    before = digest_checkpoint(tiny_checkpoint)
    (tiny_checkpoint / "README.md").write_text("hello")
    assert digest_checkpoint(tiny_checkpoint) == before
    weights = tiny_checkpoint / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert digest_checkpoint(tiny_checkpoint) != before
    assert digest_robot(ROBOT) == digest_robot(load_robot("franka"))
    assert digest_robot(ROBOT) != digest_robot(as_simulated(ROBOT))


def test_a_skipped_plan_counts_like_a_made_one(tiny_checkpoint):
    policy = load_policy(tiny_checkpoint, ROBOT)
    policy.infer(observe(0))
    expected = policy.infer(observe(1, 12.7))
    policy.reset()
    policy.skip()
    np.testing.assert_array_equal(policy.infer(observe(1, 12.7)).values, expected.values)


def test_a_skipped_plan_draws_the_numbers_of_its_text(learnt_checkpoint):
    """However many those were: nobody knows how long a text was that is not made again."""
    options = ReasoningOptions(ReasoningMode.EVERY_PLAN, temperature=30.0)
    policy = load_policy(learnt_checkpoint, ROBOT, reasoning=options)
    policy.infer(observe(0))
    expected = policy.infer(observe(1, 12.7))
    policy.reset()
    policy.skip()
    found = policy.infer(observe(1, 12.7))
    assert found.thought.token_ids == expected.thought.token_ids
    np.testing.assert_array_equal(found.values, expected.values)


def test_plans_that_continue_others_are_made_again_from_their_trace(tiny_checkpoint):
    def load():
        options = EngineOptions(guidance=Guidance.IDENTITY)
        return load_policy(tiny_checkpoint, ROBOT, options=options)

    live, again = load(), load()
    first = live.infer(observe())
    prefix = Prefix(first.values[2:], 1, 2)
    plan = live.infer(observe(1, 12.7), prefix)
    trace = Trace.parse(Trace.of(Sight(2, 1, observe(1, 12.7), prefix, plan)).dump())
    again.skip()
    found = again.infer(observe(1, 12.7), trace.prefix)
    np.testing.assert_array_equal(found.values, plan.values)
    again.reset()
    again.skip()
    assert np.abs(again.infer(observe(1, 12.7)).values - plan.values).max() > 1e-4


def test_plans_that_saw_a_text_of_a_thread_are_made_again_from_their_trace(learnt_checkpoint):
    heard = threading.Event()
    options = ReasoningOptions(
        ReasoningMode.ASYNCHRONOUS, period=0.01, listen=lambda _thought: heard.set()
    )
    live = load_policy(learnt_checkpoint, ROBOT, reasoning=options)
    try:
        plans = [live.infer(observe())]
        assert heard.wait(PATIENCE)
        plans.append(live.infer(observe(1, 12.7)))
    finally:
        live.close()
    sights = [Sight(k, k, observe(), None, plan) for k, plan in enumerate(plans)]
    traces = [Trace.parse(Trace.of(sight).dump()) for sight in sights]
    assert traces[0].text is None and len(traces[1].text) > 3

    memory = Memory()
    options = ReasoningOptions(ReasoningMode.ASYNCHRONOUS, memory=memory)
    again = load_policy(learnt_checkpoint, ROBOT, reasoning=options)
    for trace, plan, seen in zip(traces, plans, (observe(), observe(1, 12.7)), strict=True):
        memory.token_ids = trace.text
        np.testing.assert_allclose(again.infer(seen).values, plan.values, atol=1e-5)
    again.reset()
    memory.token_ids = None
    again.skip()
    assert np.abs(again.infer(observe(1, 12.7)).values - plans[1].values).max() > 1e-4
    again.close()


class Planner:
    """Plans to stay, and wants to continue plans."""

    def __init__(self, spec):
        self.spec = dataclasses.replace(spec, needs_prefix=True)

    def reset(self):
        pass

    def infer(self, observation, prefix=None, wanted=always):
        spec = self.spec
        values, latency = np.tile(observation.state, (6, 1)), Latency(1.0, 1.0, 0.0, 1.0)
        names = spec.action_names
        return Plan(observation.stamp, spec.step, spec.space, names, values, math.nan, latency)


def test_a_task_tells_its_witness_what_every_plan_was_made_of(tiny_checkpoint):
    spec = load_policy(tiny_checkpoint, ROBOT).spec
    now, told, sequences = [100.0], [], iter(range(5, 99))
    gatherer = Gatherer(spec, ROBOT)
    settings = TaskSettings(0.2, 20.0, 0.0, 1.0, 0.9, 30.0, 0.05)
    task = Task(
        Planner(spec),
        gatherer,
        "touch it",
        settings,
        frozenset(ROBOT.joint_names),
        publish=lambda plan: next(sequences),
        look=lambda: Execution(4 + len(told), 0, False),
        now=lambda: now[0],
        monotonic=lambda: now[0],
        witness=told.append,
    )
    for _ in range(4):
        for number, slot in enumerate(spec.camera_slots):
            stamp = now[0] - 0.05 * number
            gatherer.add_picture(slot, stamp, lambda: np.zeros((2, 2, 3), np.uint8))
        gatherer.add_joints(now[0] - 0.01, COLUMNS, [0.1] * len(COLUMNS))
        assert task.step() is None
        now[0] += 0.25
    assert [(sight.sequence, sight.index) for sight in told] == [(5, 0), (6, 1), (7, 2), (8, 3)]
    assert told[0].observation.joint_stamps == dict.fromkeys(COLUMNS, 99.99)
    assert set(told[0].observation.stamps.values()) == {100.0, 99.95}
    assert told[0].prefix is None and told[-1].prefix is not None
    assert told[-1].prefix.rows.shape[1] == len(COLUMNS)
