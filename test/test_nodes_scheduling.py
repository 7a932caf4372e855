# SPDX-License-Identifier: Apache-2.0
"""Wishes of the rate's thread: granted to it alone, or refused with a sentence."""

import os
import threading

from dm0_ros.nodes.scheduling import schedule_thread


def schedule(priority, cpu):
    """Refusals, policy, priority and CPUs of a thread that asks."""
    found = []

    def ask():
        refusals = schedule_thread(priority, cpu)
        policy, given = os.sched_getscheduler(0), os.sched_getparam(0).sched_priority
        found.extend((refusals, policy, given, os.sched_getaffinity(0)))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return found


def test_nothing_is_asked_by_default():
    assert schedule(0, -1) == [[], os.SCHED_OTHER, 0, os.sched_getaffinity(0)]


def test_a_cpu_is_given_to_the_thread_alone():
    before = os.sched_getaffinity(0)
    cpu = max(before)
    refusals, _, _, cpus = schedule(0, cpu)
    assert not refusals and cpus == {cpu}
    assert os.sched_getaffinity(0) == before


def test_a_cpu_that_is_not_there_is_named():
    refusals, _, _, cpus = schedule(0, 1023)
    assert cpus == os.sched_getaffinity(0)
    assert len(refusals) == 1
    assert refusals[0].startswith("not on CPU 1023: ") and "may use 0" in refusals[0]


def test_a_priority_is_given_or_refused_with_the_remedy():
    refusals, policy, given, _ = schedule(7, -1)
    if refusals:
        assert "no SCHED_FIFO priority 7" in refusals[0] and "CAP_SYS_NICE" in refusals[0]
        assert policy == os.SCHED_OTHER
    else:
        assert (policy, given) == (os.SCHED_FIFO, 7)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_a_refused_priority_does_not_keep_the_cpu_away(monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.sched_setscheduler", refuse)
    cpu = min(os.sched_getaffinity(0))
    refusals, policy, _, cpus = schedule(50, cpu)
    assert cpus == {cpu} and policy == os.SCHED_OTHER
    assert ["Operation not permitted" in refusal for refusal in refusals] == [True]
