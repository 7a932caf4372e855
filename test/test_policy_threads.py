# SPDX-License-Identifier: Apache-2.0
"""The network leaves cores to others."""

import os

import pytest

from dm0_ros.policy.threads import choose_threads


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (4, 2), (7, 3), (64, 4)])
def test_half_of_the_usable_cores_and_four_at_most(monkeypatch, cores, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert choose_threads() == threads
