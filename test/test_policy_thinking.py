# SPDX-License-Identifier: Apache-2.0
"""The thread that thinks: it gives way to plans, forgets at a reset, and ends."""

import threading

import numpy as np
import pytest

from dm0_ros.errors import Dm0Error
from dm0_ros.policy.protocol import Observation
from dm0_ros.policy.reasoning import Thought
from dm0_ros.policy.thinking import Thinker
from dm0_ros.scaffold.content import Scaffold

PATIENCE = 60.0  # s


def observe(stamp):
    return Observation({}, np.zeros(1), "go on", stamp)


def think(observation, rejection=""):
    scaffold = None if rejection else Scaffold("go on")
    stamp = observation.stamp
    return Thought("", (), scaffold, rejection, "go on", stamp, stamp, "high", 1, 1, 0.0)


class Writing:
    """A `write` in steps, each of which the test lets it take."""

    def __init__(self):
        self.steps = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.asked = threading.Semaphore(0)
        self.answers = []

    def __call__(self, observation, proceed):
        self.begun.release()
        for _ in range(2):
            assert self.steps.acquire(timeout=PATIENCE)
            self.asked.release()
            self.answers.append(proceed())
        return think(observation)


@pytest.fixture
def make():
    """Makes thinkers, and ends them."""
    made = []

    def build(write, period=1e-3, **more):
        heard, arrived = [], threading.Semaphore(0)

        def listen(thought):
            heard.append(thought)
            arrived.release()

        def fail(observation, error):
            return think(observation, f"{type(error).__name__}: {error}")

        thinker = Thinker(write, **{"fail": fail, "listen": listen, "period": period, **more})
        made.append((thinker, write))
        thinker.start()
        return thinker, heard, arrived

    yield build
    for thinker, write in made:
        if isinstance(write, Writing):
            write.steps.release(1000)
        thinker.close()


def wait(semaphore):
    assert semaphore.acquire(timeout=PATIENCE)


def rests(thinker):
    """Waits until the thread does no work."""
    with thinker._changed:
        return thinker._changed.wait_for(thinker._rests, PATIENCE)


def test_it_pauses_while_a_plan_is_made(make):
    write = Writing()
    thinker, heard, arrived = make(write)
    thinker.offer(observe(1.0))
    wait(write.begun)
    with thinker.plan():
        write.steps.release(2)
        wait(write.asked)
        assert rests(thinker) and write.answers == []
    wait(arrived)
    assert write.answers == [True, True] and thinker.thought is heard[0]


def test_it_begins_nothing_while_a_plan_is_made(make):
    write = Writing()
    thinker, _, arrived = make(write)
    with thinker.plan(alone=True):
        thinker.offer(observe(1.0))
        assert rests(thinker)
        assert not write.begun.acquire(blocking=False)
    wait(write.begun)
    write.steps.release(2)
    wait(arrived)


@pytest.mark.parametrize("reset", [False, True])
def test_a_plan_alone_waits_for_the_piece_of_work_that_has_begun(make, reset):
    write, order = Writing(), []
    thinker, _, _ = make(write)
    thinker.offer(observe(1.0))
    wait(write.begun)

    def plan():
        with thinker.plan(alone=True):
            order.append(len(write.answers))

    planner = threading.Thread(target=plan)
    planner.start()
    if reset:
        thinker.reset()
    assert not order, "it did not wait for the piece of work"
    write.steps.release(2)
    planner.join(PATIENCE)
    # Paused at the first question; or told that the text is not wanted, and done with it.
    assert order == [2 if reset else 0]


def test_only_the_newest_observation_is_thought_about(make):
    write = Writing()
    thinker, heard, arrived = make(write)
    for stamp in (1.0, 2.0, 3.0, 4.0):
        thinker.offer(observe(stamp))
        if stamp == 1.0:
            wait(write.begun)
    write.steps.release(4)
    wait(arrived)
    wait(arrived)
    assert [thought.observed for thought in heard] == [1.0, 4.0]
    assert rests(thinker) and len(heard) == 2


def test_a_reset_gives_up_what_is_being_written(make):
    write = Writing()
    thinker, heard, arrived = make(write)
    thinker.offer(observe(1.0))
    wait(write.begun)
    write.steps.release()
    wait(write.asked)
    thinker.reset()
    write.steps.release()
    thinker.offer(observe(2.0))
    wait(write.begun)
    assert write.answers == [True, False] or write.answers == [False, False]
    write.steps.release(2)
    wait(arrived)
    assert [thought.observed for thought in heard] == [2.0] == [thinker.thought.observed]
    thinker.reset()
    assert thinker.thought is None


def test_a_close_gives_up_what_is_being_written_even_during_a_plan(make):
    write = Writing()
    thinker, heard, _ = make(write)
    thinker.offer(observe(1.0))
    wait(write.begun)
    with thinker.plan():
        write.steps.release(2)
        thinker.close()
    assert write.answers == [False, False] and heard == [] and thinker.thought is None
    thinker.close()
    thinker.offer(observe(2.0))
    thinker.start()
    assert heard == [] and not thinker._thread


def test_an_error_is_a_thought_and_the_next_text_is_tried(make):
    def write(observation, _proceed):
        if observation.stamp < 2.0:
            raise KeyError("word")
        return think(observation)

    thinker, heard, arrived = make(write)
    thinker.offer(observe(1.0))
    wait(arrived)
    assert heard[0].rejection == "KeyError: 'word'" and thinker.thought is None
    thinker.offer(observe(2.0))
    wait(arrived)
    assert thinker.thought is heard[1]


def test_texts_begin_a_period_apart(make):
    begun = []

    def write(observation, _proceed):
        begun.append(observation.stamp)
        return think(observation)

    thinker, _, arrived = make(write, period=3600.0)
    thinker.offer(observe(1.0))
    wait(arrived)
    thinker.offer(observe(2.0))
    assert rests(thinker)
    assert begun == [1.0]
    thinker.reset()
    thinker.offer(observe(3.0))
    wait(arrived)
    assert begun == [1.0, 3.0], "of another task the first begins at once"


def test_it_prepares_in_its_own_thread(make):
    names = []
    make(Writing(), prepare=lambda: names.append(threading.current_thread().name))
    assert names == ["reasoning"]


def break_down(*_arguments):
    raise AssertionError("the field must be a float")


WORDS = "the thread that reasons ended with AssertionError: the field must be a float; load"


@pytest.mark.parametrize("broken", ["listen", "fail"])
def test_what_ends_the_thread_is_raised_where_plans_are_made(make, broken):
    def write(observation, _proceed):
        return 1 / 0 if broken == "fail" else think(observation)

    thinker, _, _ = make(write, **{broken: break_down})
    thinker.offer(observe(1.0))
    thinker._thread.join(PATIENCE)
    assert not thinker._thread.is_alive() and rests(thinker), "a plan alone would wait forever"
    for alone in (False, True):
        with pytest.raises(Dm0Error, match=WORDS), thinker.plan(alone):
            pass
    assert not thinker._planning
    with pytest.raises(Dm0Error, match=WORDS):
        thinker.offer(observe(2.0))


def test_a_thread_that_could_not_be_prepared_did_not_start(make):
    with pytest.raises(Dm0Error, match=WORDS):
        make(Writing(), prepare=break_down)
