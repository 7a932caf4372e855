# SPDX-License-Identifier: Apache-2.0
"""Captured actions: once a key, replayed from then on."""

import pytest
import torch
from operation_tape import record_on_tape

from dm0_ros.engine.graphs import Graphs, run_directly


@pytest.mark.parametrize("capture", [run_directly, record_on_tape])
def test_an_action_is_made_once_a_key_and_reads_what_its_buffers_hold(capture):
    graphs, made = Graphs(capture), []
    source, target = torch.zeros(3), torch.zeros(3)

    def make():
        made.append(1)
        return lambda: target.copy_(source * 2 + 1)

    for value in (1.0, 5.0, -2.0):
        source.fill_(value)
        target.fill_(float("nan"))
        graphs.run("double", make)
        assert torch.equal(target, torch.full((3,), 2 * value + 1))
    assert len(made) == 1 and len(graphs) == 1
    graphs.run("other", make)
    assert len(made) == 2 and len(graphs) == 2


def test_a_capture_that_failed_is_tried_again():
    attempts = []

    def capture(action):
        attempts.append(1)
        if len(attempts) == 1:
            raise RuntimeError("out of memory")
        return action

    graphs = Graphs(capture)
    with pytest.raises(RuntimeError):
        graphs.run("key", lambda: lambda: None)
    graphs.run("key", lambda: lambda: None)
    assert len(attempts) == 2


def test_the_tape_notices_what_a_graph_would_not_see():
    graphs, source, target = Graphs(record_on_tape), torch.ones(()), torch.zeros(())

    def action():
        target.copy_(torch.full((), float(source)))  # a number that the host reads

    graphs.run("key", lambda: action)
    source.fill_(9.0)
    graphs.run("key", lambda: action)
    assert float(target) == 1.0
