# SPDX-License-Identifier: Apache-2.0
"""Plans out of messages: what they want at a moment, and messages that make no sense."""

from types import SimpleNamespace

import pytest

from dm0_ros.errors import PlanError
from dm0_ros.policy.wire import read_plan
from dm0_ros.robots.spec import Space
from dm0_ros.viewing.plans import end_of, wanted_at


def stamp(seconds):
    return SimpleNamespace(sec=int(seconds), nanosec=round(seconds % 1 * 1e9))


def tell(**changes):
    fields = {
        **{"start": stamp(10.0), "step": stamp(0.5), "space": 0, "names": ["a", "b"]},
        **{"rows": 3, "values": [0.0, 5.0, 1.0, 5.0, 3.0, 4.0], "sequence": 7, "epoch": 2},
        **{"progress": float("nan"), "latency_ms": [0.0] * 4},
        **changes,
    }
    return SimpleNamespace(**fields)


def test_rows_are_wanted_in_time():
    plan = read_plan(tell())
    assert plan.space is Space.JOINT_POSITION and plan.values.shape == (3, 2)
    assert wanted_at(plan, 10.0) == {"a": 0.0, "b": 5.0}
    assert wanted_at(plan, 10.75) == {"a": 2.0, "b": 4.5}
    assert wanted_at(plan, 11.4) == {"a": 3.0, "b": 4.0}, "the last row is held for a step"
    assert end_of(plan) == 11.5
    assert wanted_at(plan, 9.99) == wanted_at(plan, 11.5) == {}


@pytest.mark.parametrize(
    "changes", [{"rows": 2}, {"values": []}, {"space": 9}, {"step": stamp(0.0)}, {"names": ["a"]}]
)
def test_messages_that_make_no_sense_are_refused_by_number(changes):
    with pytest.raises(PlanError, match="plan 7"):
        read_plan(tell(**changes))
