# SPDX-License-Identifier: Apache-2.0
"""Wishes of the rate's thread: granted to it alone, or refused with a sentence."""

import ctypes
import os
import platform
import re
import threading

from dm0_ros.nodes.scheduling import ask_for_short_slices, schedule_thread


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


def test_a_thread_asks_for_short_slices_and_stays_an_ordinary_one():
    """Of an ordinary thread the third number that the system tells is its slice, in ns."""
    policy, nice = os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)
    known = platform.machine() == "x86_64"
    release = tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2])
    told = []

    def ask():
        ask_for_short_slices()
        attributes = (ctypes.c_uint64 * 6)()
        ctypes.CDLL(None).syscall(315, 0, attributes, 48, 0)  # sched_getattr on x86_64
        told.append(attributes[3])

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    if known and release >= (6, 12):
        assert told == [100_000]
    assert (os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)) == (policy, nice)
