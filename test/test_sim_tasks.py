# SPDX-License-Identifier: Apache-2.0
"""Tasks are fair, repeatable, and in words that were not trained on."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm0_ros.errors import Dm0Error, RobotError
from dm0_ros.sim.tasks import choose_tasks
from dm0_ros.sim.world import Instructions, TaskKind, load_world

WORLD = load_world("three_blocks")


@given(count=st.integers(0, 60), seed=st.integers(0, 2**31))
def test_objects_and_wordings_take_turns(count, seed):
    tasks = choose_tasks(WORLD, count, seed)
    assert len(tasks) == count
    assert tasks == choose_tasks(WORLD, count, seed)
    by_object = Counter(dict.fromkeys(WORLD.object_names, 0))
    by_object.update(task.object for task in tasks)
    assert max(by_object.values()) - min(by_object.values()) <= 1
    trained = {
        wording.format(object=name)
        for wording in WORLD.task().instructions.training
        for name in WORLD.object_names
    }
    for task in tasks:
        assert task.instruction not in trained
        assert [name for name in WORLD.object_names if name in task.instruction.split()] == [
            task.object
        ]


def test_seeds_differ():
    assert choose_tasks(WORLD, 20, 1) != choose_tasks(WORLD, 20, 2)


def test_world_without_instructions_is_refused():
    nothing = replace(WORLD.task(), instructions=Instructions(training=("x",), test=()))
    world = replace(WORLD, tasks={"touch": nothing})
    with pytest.raises(Dm0Error, match="no test instructions"):
        choose_tasks(world, 3, 0)


def test_unknown_task_is_refused_with_those_that_there_are():
    with pytest.raises(RobotError, match="no task 'dance'; its tasks are touch"):
        choose_tasks(WORLD, 3, 0, "dance")


def test_a_task_says_what_has_to_happen_in_its_own_words():
    world = load_world("blocks_and_bin")
    kinds = {name: choose_tasks(world, 6, 0, name) for name in world.tasks}
    assert {task.kind for task in kinds["pick"]} == {TaskKind.PLACE}
    assert {task.kind for task in kinds["touch"]} == {TaskKind.TOUCH}
    assert choose_tasks(world, 6, 0) == kinds["pick"]
    assert not {t.instruction for t in kinds["pick"]} & {t.instruction for t in kinds["touch"]}


def test_a_bin_is_needed_to_put_something_into_it():
    with pytest.raises(RobotError, match="task pick needs a 'bin'"):
        replace(load_world("blocks_and_bin"), bin=None)
