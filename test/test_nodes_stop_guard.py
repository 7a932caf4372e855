# SPDX-License-Identifier: Apache-2.0
"""What the executor said while an instruction ran counts, however long ago it said it."""

import pytest

pytest.importorskip("rclpy")

from dm0_ros.msg import ExecutorStatus
from dm0_ros.nodes.stop_guard import StopGuard


def status(epoch=2, **more):
    return ExecutorStatus(state=more.pop("state", ExecutorStatus.EXECUTING), epoch=epoch, **more)


STOP = {"state": ExecutorStatus.HOLD, "needs_reset": True, "reason": "stop requested"}


@pytest.fixture
def guard():
    """Of an instruction that was given in epoch 2."""
    guard = StopGuard()
    guard.note(status())
    guard.begin()
    return guard


def test_as_long_as_the_executor_goes_on_there_is_no_fault(guard):
    for state in (ExecutorStatus.IDLE, ExecutorStatus.EXECUTING, ExecutorStatus.HOLD):
        guard.note(status(state=state))
    assert guard.find_fault() == "" and guard.epoch == 2


def test_a_stop_is_remembered_beyond_its_reset(guard):
    guard.note(status(**STOP))
    guard.note(status(epoch=3, state=ExecutorStatus.IDLE))
    assert "stop requested" in guard.find_fault() and guard.epoch == 2


def test_a_stop_whose_status_was_lost_shows_in_the_epoch(guard):
    guard.note(status(epoch=3, state=ExecutorStatus.IDLE))
    assert "is in epoch 3, and the instruction began in epoch 2" in guard.find_fault()
    assert guard.epoch == 2, "a plan from before the reset would be taken"


def test_a_fault_without_need_of_a_reset_counts(guard):
    guard.note(status(state=ExecutorStatus.FAULT, reason="joint states are old"))
    assert "joint states are old" in guard.find_fault()


def test_the_next_instruction_begins_in_the_new_epoch(guard):
    guard.note(status(**STOP))
    guard.begin()
    assert "stop requested" in guard.find_fault(), "it was not reset yet"
    guard.note(status(epoch=3, state=ExecutorStatus.IDLE))
    guard.begin()
    assert guard.find_fault() == "" and guard.epoch == 3


def test_an_executor_that_speaks_late_says_which_epoch_it_is():
    guard = StopGuard()
    guard.begin()
    assert guard.find_fault() == "" and guard.epoch == 0
    guard.note(status(epoch=7))
    assert guard.find_fault() == "" and guard.epoch == 7
