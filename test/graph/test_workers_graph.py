# SPDX-License-Identifier: Apache-2.0
"""The executor of nodes with several threads: nothing waits in a queue, nothing runs twice."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup

from dm0_ros.nodes.workers import WorkerExecutor

PATIENCE = 30.0  # s


@pytest.fixture
def node(graph):
    node = rclpy.create_node("worker")
    yield node
    node.destroy_node()


@pytest.fixture
def executor(node):
    executor = WorkerExecutor(2)
    executor.add_node(node)
    yield executor
    executor.shutdown(timeout_sec=0)


class Work:
    """A callback that is wanted by `ask`, and goes on until it may end."""

    def __init__(self, node, group=None):
        group = group or MutuallyExclusiveCallbackGroup()
        self.ask = node.create_guard_condition(self._run, group).trigger
        self.begun, self.may_end, self.count = threading.Event(), threading.Event(), 0

    def _run(self):
        self.count += 1
        self.begun.set()
        assert self.may_end.wait(PATIENCE)


def spin_until(executor, condition):
    for _ in range(int(PATIENCE / 0.05)):
        if condition():
            return
        executor.spin_once(timeout_sec=0.05)
    pytest.fail("it did not come about")


def test_groups_run_at_once_and_none_is_taken_without_a_free_thread(node, executor, monkeypatch):
    works = [Work(node) for _ in range(3)]
    first, second, third = works
    for work in (first, second):
        work.ask()
        spin_until(executor, work.begun.is_set)
    third.ask()
    looks = []
    wait = executor.wait_for_ready_callbacks
    monkeypatch.setattr(
        executor, "wait_for_ready_callbacks", lambda **given: looks.append(0) or wait(**given)
    )
    for _ in range(20):
        executor.spin_once(timeout_sec=0.001)
    assert not looks and not third.begun.is_set()
    for work in works:
        work.may_end.set()
    spin_until(executor, third.begun.is_set)
    for _ in range(5):
        executor.spin_once(timeout_sec=0.01)
    assert [work.count for work in works] == [1, 1, 1]


def test_one_group_runs_one_at_a_time(node, executor):
    group = MutuallyExclusiveCallbackGroup()
    first, second = Work(node, group), Work(node, group)
    first.ask()
    spin_until(executor, first.begun.is_set)
    second.ask()
    for _ in range(10):
        executor.spin_once(timeout_sec=0.01)
    assert not second.begun.is_set()
    first.may_end.set()
    spin_until(executor, second.begun.is_set)
    second.may_end.set()


def test_what_a_callback_raises_comes_out(node, executor):
    def fail():
        raise ZeroDivisionError("of the test")

    node.create_guard_condition(fail, MutuallyExclusiveCallbackGroup()).trigger()
    with pytest.raises(ZeroDivisionError, match="of the test"):
        spin_until(executor, lambda: False)


def test_a_callback_from_another_thread_is_found_while_it_waits(node, executor):
    work = Work(node)
    work.may_end.set()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(work.ask)
        spin_until(executor, work.begun.is_set)
    asked.result()
    assert work.count == 1
