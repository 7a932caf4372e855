# SPDX-License-Identifier: Apache-2.0
"""A policy that reasons, with the tiny network of `reasoning_samples`, which has learnt to."""

import math
import os
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from policy_samples import COLUMNS, ROBOT, observe
from policy_samples import INSTRUCTION as GOOD
from reasoning_samples import LEVELS, LIMIT, PATH, TEXTS, change_scaffold

from dm0_ros.engine import Ending, Text
from dm0_ros.errors import CheckpointError, Dm0Error, PlanError
from dm0_ros.policy.actions import encode_actions
from dm0_ros.policy.loading import load_parts
from dm0_ros.policy.prompt import CUE, STOP, encode_cue, find_stop
from dm0_ros.policy.reasoning import (
    ReasoningMode,
    ReasoningOptions,
    choose_mode,
)
from dm0_ros.policy.registry import load_policy
from dm0_ros.policy.settings import dump_settings, load_settings
from dm0_ros.policy.tokenizer import load_tokenizer
from dm0_ros.scaffold.levels import Level

BAD = [name for name in TEXTS if name != GOOD]
PATIENCE = 60.0  # s


def think_first(folder, **options):
    return load_policy(
        folder, ROBOT, reasoning=ReasoningOptions(ReasoningMode.EVERY_PLAN, **options)
    )


def columns_of(policy, plan, state):
    """A plan's columns as the network gave them."""
    parts = policy._parts
    return encode_actions(
        plan.values, state, parts.layout, parts.stats, parts.settings.normalisation
    )[:, : len(COLUMNS)]


def test_off_is_the_default_and_writes_nothing(learnt_checkpoint):
    plan = load_policy(learnt_checkpoint, ROBOT).infer(observe())
    assert plan.thought is None and plan.latency.reasoning == 0


def test_every_plan_has_its_text(learnt_checkpoint):
    heard = []
    policy = think_first(learnt_checkpoint, listen=heard.append)
    observation = observe(stamps={"right_hand": 12.25, "left_hand": 12.5})
    plan = policy.infer(observation)
    thought = plan.thought
    assert thought.valid and thought.text == TEXTS[GOOD]
    assert thought.scaffold.subtask == "touch it" and thought.scaffold.box == (10, 20, 300, 400)
    assert thought.scaffold.paths == {"main": ((100, 200), (300, 400), (500, 600))}
    assert len(thought.scaffold.actions) == 16
    assert (thought.view, thought.width, thought.height) == ("right_hand", 90, 70)
    assert (thought.stamp, thought.observed, thought.instruction) == (12.25, 12.5, GOOD)
    assert plan.latency.reasoning == thought.milliseconds > 0
    assert [one.text for one in heard] == [thought.text]


def test_actions_see_a_valid_text(learnt_checkpoint):
    """They are those of a prompt that has cue and text in it, and not those without."""
    observation = observe()
    plan = think_first(learnt_checkpoint, level=Level.BOX).infer(observation)
    plain = load_policy(learnt_checkpoint, ROBOT)
    without = plain.infer(observation)
    assert np.abs(plan.values - without.values).max() > 1e-4
    plain.reset()
    request = plain._request(observation, 0.0, None)
    cue = encode_cue(load_tokenizer(learnt_checkpoint))
    seen = np.concatenate((request.token_ids, cue, plan.thought.token_ids))
    plain.reset()
    request = replace(plain._request(observation, 0.0, None), token_ids=seen)
    result = plain._engine.infer([request])[0]
    np.testing.assert_allclose(
        plain._decode(result.actions, observation.state), plan.values, atol=1e-6
    )


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        ("say it the wrong way round", "x_min 900 is above x_max 300"),
        ("stop early", "the text ends after box; it should end after action"),
        ("never stop", f"cut at token {LIMIT}: it may have no more"),
        ("forget an action", "there are 15 actions; 2 rows of 8 columns are 16"),
    ],
)
def test_a_refused_text_is_told_and_not_seen(learnt_checkpoint, instruction, reason):
    heard = []
    policy = think_first(learnt_checkpoint, listen=heard.append)
    plan = policy.infer(observe(instruction))
    assert not plan.thought.valid and reason in plan.thought.rejection
    assert plan.thought.text and TEXTS[instruction].startswith(plan.thought.text)
    assert plan.thought.scaffold is None and plan.thought.decoded is None
    assert heard == [plan.thought]
    without = load_policy(learnt_checkpoint, ROBOT).infer(observe(instruction))
    np.testing.assert_allclose(plan.values, without.values, atol=1e-6)


def read(policy, token_ids):
    """What the policy makes of tokens that a network could write."""
    text = Text(tuple(token_ids), Ending.STOPPED)
    return policy._answers.read(text, observe(), 1.0)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (PATH, ""),
        ("path: none\n", ""),
        ("path: main 100 200 300 400\n", "path main has 2 points; the path_rows are 3"),
        (PATH.replace("main", "left"), "there is a path left; this robot's are main"),
    ],
)
def test_a_path_of_another_checkpoint_or_robot_is_refused(learnt_checkpoint, path, reason):
    policy = think_first(learnt_checkpoint)
    text = TEXTS[GOOD].replace(PATH, path)
    thought = read(policy, load_tokenizer(learnt_checkpoint).encode(text))
    assert thought.text == text and thought.rejection == reason and thought.valid == (not reason)


def test_a_text_in_other_tokens_than_were_learnt_is_refused(learnt_checkpoint):
    policy, tokenizer = think_first(learnt_checkpoint), load_tokenizer(learnt_checkpoint)
    learnt = tokenizer.encode(TEXTS[GOOD])
    assert read(policy, learnt).valid
    unknown = read(policy, [*learnt[:3], tokenizer.size, *learnt[3:]])
    assert unknown.text == TEXTS[GOOD] and f"token 4 is {tokenizer.size};" in unknown.rejection
    place = learnt.index(tokenizer.find("<action_127>"))
    letters = [token for sign in "<action_127>" for token in tokenizer.encode(sign)]
    spelt = read(policy, [*learnt[:place], *letters, *learnt[place + 1 :]])
    assert spelt.text == TEXTS[GOOD] and not spelt.valid
    assert f"token {place + 1} is {letters[0]}; in the only spelling" in spelt.rejection


def test_a_text_out_of_time_is_refused(learnt_checkpoint):
    plan = think_first(learnt_checkpoint, seconds=1e-9).infer(observe())
    assert "cut at token 1: its time was over" in plan.thought.rejection
    without = load_policy(learnt_checkpoint, ROBOT).infer(observe())
    np.testing.assert_allclose(plan.values, without.values, atol=1e-6)


def test_a_text_that_is_no_longer_wanted_is_given_up(learnt_checkpoint):
    """Whoever cancels does not wait for the rest of it."""
    heard = []
    policy = think_first(learnt_checkpoint, listen=heard.append)
    answers = iter([True, True, True])
    plan = policy.infer(observe(), wanted=lambda: next(answers, False))
    assert plan.thought.rejection == "the text was given up at token 2"
    assert not plan.thought.valid and not heard, "nobody is to worry about it"


@pytest.mark.parametrize("level", list(Level))
def test_fewer_levels_may_be_asked_for(learnt_checkpoint, level):
    thought = think_first(learnt_checkpoint, level=level).infer(observe()).thought
    assert thought.text == "".join(TEXTS[GOOD].splitlines(True)[: level.count])
    assert thought.valid and thought.scaffold == thought.scaffold.up_to(level)
    assert (thought.decoded is None) == (level is not Level.ACTION)


def test_a_level_that_is_reached_before_the_rest_goes_wrong_is_valid(learnt_checkpoint):
    policy = think_first(learnt_checkpoint, level=Level.BOX)
    assert policy.infer(observe("stop early")).thought.valid
    policy = think_first(learnt_checkpoint, level=Level.SUBTASK)
    assert policy.infer(observe("say it the wrong way round")).thought.valid


def test_discrete_actions_are_a_plan_and_a_check(learnt_checkpoint):
    policy = think_first(learnt_checkpoint)
    observation = observe()
    plan = policy.infer(observation)
    decoded = policy.discrete_plan(plan.thought)
    assert (decoded.start, decoded.step, decoded.names) == (12.5, plan.step, plan.names)
    assert decoded.values.shape == plan.values.shape
    told = columns_of(policy, decoded, observation.state)
    bins = np.array(plan.thought.scaffold.actions).reshape(2, 8)
    np.testing.assert_allclose(told[[2, 5]], bins / 254 * 2 - 1, atol=1e-4)
    # Row 0 is where the robot is, but for the gripper, which is told as it will be.
    np.testing.assert_allclose(decoded.values[0, :7], observation.state[:7], atol=1e-6)
    mine = np.clip(columns_of(policy, plan, observation.state), -1, 1)
    expected = np.abs(mine - told).mean()
    assert plan.thought.disagreement == pytest.approx(expected, abs=1e-4) and expected > 0.01


def test_the_check_compares_what_is_meant_for_the_same_time(learnt_checkpoint):
    policy = think_first(learnt_checkpoint)
    observation = observe()
    thought = policy.infer(observation).thought
    actions, state = policy._answers.actions, observation.state + 0.05
    parts, mode = policy._parts, policy._parts.settings.normalisation
    for late, count in ((0.0, 6), (2.0, 4), (2.5, 3)):
        times = np.arange(count) + late
        rows = np.stack([np.interp(times, np.arange(6), c) for c in thought.decoded.T], 1)
        same = encode_actions(rows, state, parts.layout, parts.stats, mode)
        columns = np.zeros((6, 12))
        columns[:count] = same
        columns[count:] = 9.0
        apart = actions.compare(columns, state, thought.decoded, late)
        beyond = np.abs(same[:, :8]).max() > 1
        assert apart == pytest.approx(0.0, abs=1e-6) and not beyond
        other = actions.compare(columns + 0.125, state, thought.decoded, late)
        assert 0.05 < other < 0.1251
    assert math.isnan(actions.compare(columns, state, thought.decoded, 5.5))


def test_a_text_without_actions_is_no_plan(learnt_checkpoint):
    policy = think_first(learnt_checkpoint, level=Level.BOX)
    thought = policy.infer(observe()).thought
    assert math.isnan(thought.disagreement)
    with pytest.raises(PlanError, match="reason as far as level action"):
        policy.discrete_plan(thought)


def test_every_plan_is_the_same_after_a_reset(learnt_checkpoint):
    for temperature in (0.0, 30.0):
        policy = think_first(learnt_checkpoint, temperature=temperature)
        runs = []
        for _ in range(2):
            policy.reset()
            runs.append([policy.infer(observe(seed=seed)) for seed in range(2)])
        for first, second in zip(*runs, strict=True):
            assert first.thought.token_ids == second.thought.token_ids
            np.testing.assert_array_equal(first.values, second.values)
        drawn = runs[0][0].thought.token_ids != runs[0][1].thought.token_ids
        assert drawn == (temperature > 0)


@pytest.mark.parametrize("mode", [ReasoningMode.EVERY_PLAN, ReasoningMode.ASYNCHRONOUS])
def test_warm_up_tells_nothing_and_leaves_no_trace(learnt_checkpoint, mode):
    heard = []
    options = ReasoningOptions(mode, listen=heard.append)
    policy = load_policy(learnt_checkpoint, ROBOT, reasoning=options)
    plain = policy._plan(observe(), None).values
    policy.reset()
    latency = policy.warm_up()
    assert (latency.reasoning > 0) == (mode is ReasoningMode.EVERY_PLAN)
    np.testing.assert_array_equal(policy._plan(observe(), None).values, plain)
    policy.close()
    assert heard == []


class Listener:
    """Hears thoughts from another thread."""

    def __init__(self):
        self.heard = []
        self._changed = threading.Condition()

    def __call__(self, thought):
        with self._changed:
            self.heard.append(thought)
            self._changed.notify_all()

    def wait(self, count):
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.heard) >= count, PATIENCE)
        return self.heard[count - 1]


@pytest.fixture
def musing(learnt_checkpoint):
    """Makes policies that think beside their plans, and closes them."""
    made = []

    def make(folder=learnt_checkpoint, **options):
        listener = Listener()
        reasoning = ReasoningOptions(
            ReasoningMode.ASYNCHRONOUS, listen=listener, **{"period": 0.01, **options}
        )
        policy = load_policy(folder, ROBOT, reasoning=reasoning)
        made.append(policy)
        return policy, listener

    yield make
    for policy in made:
        policy.close()


def test_plans_do_not_wait_for_a_text_and_take_it_when_it_is_there(musing, learnt_checkpoint):
    policy, listener = musing()
    first = policy.infer(observe())
    assert first.thought is None and first.latency.reasoning == 0
    without = load_policy(learnt_checkpoint, ROBOT)
    np.testing.assert_array_equal(first.values, without.infer(observe()).values)
    thought = listener.wait(1)
    assert thought.text == TEXTS[GOOD] and thought.milliseconds > 0
    second = policy.infer(observe(seed=1, stamp=12.7))
    assert second.thought.token_ids == thought.token_ids
    assert second.thought.observed == 12.5 and second.latency.reasoning == 0
    assert second.thought.disagreement > 0
    eager = think_first(learnt_checkpoint)
    eager.infer(observe())  # the first draw of the noise
    expected = eager.infer(observe(seed=1, stamp=12.7))
    np.testing.assert_allclose(second.values, expected.values, atol=1e-5)


def test_texts_follow_the_newest_observation(musing):
    policy, listener = musing()
    for number in range(1, 4):
        policy.infer(observe(seed=number, stamp=10.0 + number))
        assert listener.wait(number).observed == 10.0 + number
    # What it has written about needs no second text.
    assert policy._mind._thinker._newest is None


def test_a_text_is_used_while_it_is_young_and_answers_the_instruction(musing):
    policy, listener = musing(max_age=3.0)
    policy.infer(observe())
    listener.wait(1)
    # Each of these is only planned for, and not given to the thread.
    for stamp, used in ((12.5, True), (15.5, True), (15.6, False), (12.4, False)):
        assert (policy._plan(observe(stamp=stamp), None).thought is not None) == used
    assert policy._plan(observe("stop early"), None).thought is None


@pytest.mark.parametrize(("stamp", "late"), [(15.5, False), (15.6, True)])
def test_a_text_that_comes_too_late_for_every_plan_is_refused(musing, stamp, late):
    policy, listener = musing(max_age=3.0)
    engine, begun, planned = policy._mind._second, threading.Event(), threading.Event()
    write = engine.write

    def take_long(*arguments):
        begun.set()
        assert planned.wait(PATIENCE)
        return write(*arguments)

    engine.write = take_long
    policy.infer(observe())
    assert begun.wait(PATIENCE)  # or the newer observation would be the one to write about
    policy.infer(observe(stamp=stamp))
    planned.set()
    thought = listener.wait(1)
    assert thought.observed == 12.5 and thought.text == TEXTS[GOOD] and thought.valid == (not late)
    if late:
        assert "the newest observation is 3.1 s younger" in thought.rejection
        assert thought.decoded is None


@pytest.mark.parametrize("instruction", BAD)
def test_a_refused_text_never_reaches_a_plan(musing, instruction):
    policy, listener = musing()
    policy.infer(observe(instruction))
    thought = listener.wait(1)
    assert not thought.valid and thought.rejection
    assert policy.infer(observe(instruction, stamp=12.6)).thought is None


def test_a_refused_text_does_not_replace_a_good_one(musing):
    policy, listener = musing(level=Level.ACTION)
    policy.infer(observe())
    good = listener.wait(1)
    policy._mind._thinker.offer(observe("never stop"))
    assert not listener.wait(2).valid
    assert policy._plan(observe(), None).thought.token_ids == good.token_ids


def test_a_reset_forgets_the_text(musing):
    policy, listener = musing()
    policy.infer(observe())
    listener.wait(1)
    policy.reset()
    assert policy._plan(observe(), None).thought is None
    policy.infer(observe(stamp=20.0))
    assert listener.wait(2).observed == 20.0


def test_an_error_in_the_thread_is_told_and_does_not_end_it(musing, monkeypatch):
    policy, listener = musing()
    engine = policy._mind._second
    write = engine.write
    monkeypatch.setattr(engine, "write", lambda *_: 1 / 0)
    plan = policy.infer(observe())
    assert np.isfinite(plan.values).all()
    assert "reasoning failed: ZeroDivisionError: division by zero" in listener.wait(1).rejection
    monkeypatch.setattr(engine, "write", write)
    policy.infer(observe(stamp=13.0))
    assert listener.wait(2).valid


def test_a_warm_up_gives_up_the_text_that_is_being_written(musing, monkeypatch):
    """As when a camera's resolution changes: it works in the very buffers of the text."""
    policy, listener = musing()
    policy.infer(observe())
    listener.wait(1)
    thinker, pieces = policy._mind._thinker, iter(range(9))
    go_on, rests = thinker._proceed, thinker._rests
    half_way, asked = threading.Event(), threading.Event()

    def proceed(task):
        if next(pieces, None) is None:
            half_way.set()
            assert asked.wait(PATIENCE)
        return go_on(task)

    monkeypatch.setattr(thinker, "_proceed", proceed)
    monkeypatch.setattr(thinker, "_rests", lambda: asked.set() or rests())
    thinker.offer(observe(stamp=20.0))
    assert half_way.wait(PATIENCE)
    policy._mind.warm_up(((70, 90), (70, 90)), [1])
    policy.infer(observe(stamp=30.0))
    thought = listener.wait(2)
    assert thought.observed == 30.0 and thought.text == TEXTS[GOOD]


def test_close_ends_the_thread_and_plans_go_on_without(musing):
    policy, listener = musing()
    policy.infer(observe())
    policy.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "reasoning"]
    policy.close()
    count = len(listener.heard)
    assert np.isfinite(policy.infer(observe(stamp=13.0)).values).all()
    assert len(listener.heard) == count


def test_the_thread_gives_way(musing):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        policy, listener = musing()
        found = {}

        def look(_observation, _proceed):
            found["threads"] = torch.get_num_threads()
            found["niceness"] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
            raise RuntimeError("seen")

        policy._mind._thinker._write = look
        policy.infer(observe())
        listener.wait(1)
        here = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        assert found == {"threads": 1, "niceness": min(here + 5, 19)}
        assert torch.get_num_threads() == 2
        others = []
        thread = threading.Thread(target=lambda: others.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert others == [2]
    finally:
        torch.set_num_threads(before)


def test_modes_by_name(learnt_checkpoint, tiny_checkpoint):
    able, unable = load_settings(learnt_checkpoint), load_settings(tiny_checkpoint)
    assert choose_mode("", able) is ReasoningMode.ASYNCHRONOUS
    assert choose_mode("", unable) is ReasoningMode.OFF
    for mode in ReasoningMode:
        assert choose_mode(mode.value, able) is mode
    with pytest.raises(Dm0Error, match="choose one of off, every_plan, asynchronous"):
        choose_mode("often", able)


def test_a_checkpoint_that_cannot_reason_says_so(tiny_checkpoint):
    with pytest.raises(CheckpointError, match=r"tiny does not reason.*Choose reasoning 'off'"):
        think_first(tiny_checkpoint)


def test_levels_beyond_the_checkpoint_are_refused(reasoning_checkpoint):
    change_scaffold(reasoning_checkpoint, levels=["subtask", "box"], action_rows=[])
    with pytest.raises(
        CheckpointError, match=r"reasons as far as box, not action: .* subtask, box"
    ):
        think_first(reasoning_checkpoint, level=Level.ACTION)
    thought = think_first(reasoning_checkpoint).infer(observe()).thought
    assert thought.text == "".join(TEXTS[GOOD].splitlines(True)[:2]) and thought.valid


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grammar": "latin"}, "scaffold.grammar: is latin, but config/scaffold/ has nano"),
        (
            {"view": "high"},
            "scaffold.view: is high, which the network does not see; it sees right",
        ),
        (
            {"levels": ["box", "subtask"]},
            "scaffold.levels: the levels box, subtask are not the first 2 of",
        ),
        ({"levels": ["subtask", "thumb"]}, r"'thumb' is not one of subtask, box"),
        ({"limit": 0}, "scaffold.limit: is 0 tokens; it must be at least 1"),
        ({"path_rows": [1, 6]}, "scaffold: path_rows: goes beyond the plan, whose last row is 5"),
        ({"words": 3}, "unknown key words"),
    ],
)
def test_settings_that_do_not_fit_are_named(reasoning_checkpoint, changes, words):
    change_scaffold(reasoning_checkpoint, **changes)
    with pytest.raises(CheckpointError, match=words):
        think_first(reasoning_checkpoint)


def test_settings_are_written_as_they_are_read(learnt_checkpoint, tmp_path):
    settings = load_settings(learnt_checkpoint)
    assert settings.scaffold.levels == LEVELS
    (tmp_path / "policy.yaml").write_text(dump_settings(settings))
    assert load_settings(tmp_path) == settings


def test_the_longest_text_finds_room(reasoning_checkpoint):
    change_scaffold(reasoning_checkpoint, limit=400)
    thought = think_first(reasoning_checkpoint).infer(observe("never stop")).thought
    assert len(thought.token_ids) > LIMIT


def test_a_tokenizer_without_the_stop_token_is_refused(reasoning_checkpoint):
    path = reasoning_checkpoint / "tokenizer.json"
    path.write_text(path.read_text().replace(STOP, "<|other|>"))
    with pytest.raises(CheckpointError, match=r"has no token <\|im_end\|>.*added token"):
        load_parts(reasoning_checkpoint, ROBOT, mode=ReasoningMode.EVERY_PLAN)
    load_parts(reasoning_checkpoint, ROBOT)


def test_cue_and_stop_token_are_segments_of_their_own(learnt_checkpoint):
    tokenizer = load_tokenizer(learnt_checkpoint)
    assert tokenizer.decode(encode_cue(tokenizer).tolist()) == CUE == "ASSISTANT: "
    assert tokenizer.decode([find_stop(tokenizer)]) == STOP == "<|im_end|>"


@pytest.mark.parametrize("name", ["period", "max_age", "seconds"])
def test_options_that_make_no_sense_are_named(name):
    with pytest.raises(Dm0Error, match=f"{name} is 0"):
        ReasoningOptions(**{name: 0.0})
