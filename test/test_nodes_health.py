# SPDX-License-Identifier: Apache-2.0
"""From which values on the executor's diagnostics are WARN or ERROR."""

import math
from dataclasses import replace

import pytest

pytest.importorskip("rclpy")

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus

from dm0_ros.control import State, Status
from dm0_ros.nodes.health import ExecutorDiagnostics, Readings
from dm0_ros.robots import load_robot

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
ROBOT = load_robot("franka")  # 100 Hz
ROBOT = replace(ROBOT, executor=replace(ROBOT.executor, plan_timeout=2.0))
GOOD = Status(
    state=State.EXECUTING,
    reason="following plan 4",
    needs_reset=False,
    epoch=0,
    sequence=4,
    time_left=4.0,
    observation_age=0.2,
    seam=0.01,
    limited=("fr3_joint4: velocity",),
    dropped=0,
)
QUIET = Readings(
    active=True,
    period_p50=0.01,
    period_p99=0.011,
    joints_age=0.02,
    speed=math.nan,
    rivals="",
    frozen=False,
    lost=(),
    unheard=(),
    refusals=(),
)


def report(status=GOOD, readings=QUIET, diagnostics=None):
    diagnostics = diagnostics or ExecutorDiagnostics(ROBOT)
    (found,) = diagnostics.report(Time(), status, readings).status
    return found


def test_all_is_well():
    found = report()
    assert (found.level, found.message) == (OK, "EXECUTING: following plan 4")
    values = {pair.key: pair.value for pair in found.values}
    assert values["limited"] == "fr3_joint4: velocity"
    assert values["command period p99 (ms)"] == "11.000"
    assert values["plans refused"] == "0"


@pytest.mark.parametrize(
    ("level", "words", "status", "readings"),
    [
        (OK, "EXECUTING", {}, {"period_p99": 0.0149}),
        (WARN, "p99 15.20 ms instead of 10.00", {}, {"period_p99": 0.0152}),
        (ERROR, "p99 31.00 ms instead of 10.00", {}, {"period_p99": 0.031}),
        (OK, "EXECUTING", {}, {"period_p99": 1.0, "active": False}),
        (ERROR, "FAULT: why", {"state": State.FAULT, "reason": "why", "needs_reset": True}, {}),
        (
            WARN,
            "waits for ~/reset: why",
            {"state": State.HOLD, "reason": "why", "needs_reset": 1},
            {},
        ),
        (OK, "HOLD: why", {"state": State.HOLD, "reason": "why"}, {}),
        (WARN, "STARVED: why", {"state": State.STARVED, "reason": "why"}, {}),
        (OK, "EXECUTING", {"time_left": 0.31}, {}),
        (WARN, "0.29 s of plan left", {"time_left": 0.29}, {}),
        (OK, "HOLD", {"time_left": 0.0, "state": State.HOLD}, {}),
        (OK, "EXECUTING", {"observation_age": 0.99}, {}),
        (WARN, "observation is 1.01 s old", {"observation_age": 1.01}, {}),
        (WARN, "0.180 rad from the one before", {"seam": 0.18}, {}),
        (OK, "EXECUTING", {}, {"joints_age": 0.24}),
        (WARN, "the last joint_states came 0.26 s ago", {}, {"joints_age": 0.26}),
        (OK, "EXECUTING", {}, {"joints_age": math.inf, "active": False}),
        (ERROR, "two policies", {}, {"rivals": "two policies"}),
        (ERROR, "/clock", {}, {"frozen": True}),
        (ERROR, "no arm", {}, {"lost": ["no arm"]}),
        (WARN, "no hand", {}, {"unheard": ["no hand"]}),
        (WARN, "no priority", {}, {"refusals": ["no priority"]}),
        (ERROR, "no arm; no hand", {}, {"lost": ["no arm"], "unheard": ["no hand"]}),
    ],
)
def test_thresholds(level, words, status, readings):
    found = report(replace(GOOD, **status), replace(QUIET, **readings))
    assert found.level == level and words in found.message


def test_without_a_plan_timeout_no_plan_is_too_old():
    robot = replace(ROBOT, executor=replace(ROBOT.executor, plan_timeout=0.0))
    status = replace(GOOD, observation_age=100.0)
    assert report(status, diagnostics=ExecutorDiagnostics(robot)).level == OK


def test_drops_warn_once_and_their_reasons_stay():
    diagnostics = ExecutorDiagnostics(ROBOT)
    for count in range(7):
        diagnostics.note_drop(f"plan {count} is bad")
    diagnostics.note_plan([1.0, 20.0, 0.0, 30.0], 0.004)
    found = report(replace(GOOD, dropped=7), diagnostics=diagnostics)
    assert found.level == WARN and "7 plans refused, the last: plan 6 is bad" in found.message
    values = {pair.key: pair.value for pair in found.values}
    assert values["refused, 1 back"] == "plan 6 is bad" and values["refused, 5 back"]
    assert "refused, 6 back" not in values and values["plans refused"] == "7"
    assert values["flow (ms)"] == "30.0" and values["plan transport (ms)"] == "4.0"
    assert report(diagnostics=diagnostics).level == OK
