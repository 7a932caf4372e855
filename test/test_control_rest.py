# SPDX-License-Identifier: Apache-2.0
"""Plans that were observed before anything moved, and where a plan is judged."""

from dataclasses import replace

import numpy as np
import pytest
from control_samples import ARM, HOME, NAMES, ROBOT
from hypothesis import given, settings
from hypothesis import strategies as st
from test_control_machine import (
    BLEND,
    PERIOD,
    SEAMS,
    Rig,
    check_limits,
    check_stroke,
    consider,
    move,
    ramp,
)

from dm0_ros.control import HoldUntilDone, Limits, State, TemporalEnsemble
from dm0_ros.control.clock import Clock
from dm0_ros.control.measurement import Measurement
from dm0_ros.errors import PlanError

FAST = 1.0  # rad/s: in 0.4 s further than max_first_distance


def shifted(rig):
    """A plan that goes on from where the arm is."""
    return rig.measured + ramp(FAST) - HOME


@settings(max_examples=30, deadline=None)
@given(st.floats(0.0, 1.8), st.sampled_from(SEAMS), st.booleans())
def test_a_resting_arm_begins_with_row_0_however_late_the_plan_is(age, seam, held):
    late, prompt = Rig(seam), Rig(seam)
    for rig in (late, prompt):
        if held:
            rig.plan(move())
            rig.run(3.0)
            assert rig.state is State.HOLD
        rig.run(0.2)
        seen, when = shifted(rig), rig.now
        if rig is late:
            rig.run(age)
        before = len(rig.points)
        rig.plan(seen, start=when)
        assert rig.status.observation_age == pytest.approx(rig.now - when)
        rig.run(1.2)
        rig.points = rig.points[before:]
    np.testing.assert_allclose(late.path, prompt.path[: len(late.path)], atol=1e-9)
    check_limits(late.path)


def test_plan_after_plan_that_is_late_for_a_resting_arm_is_not_refused():
    rig = Rig()
    rig.run(0.5)
    seen = [(shifted(rig), rig.now)]
    for _ in range(5):  # each comes when the next but one is observed
        rig.run(0.25)
        seen.append((rig.measured + ramp(FAST) - HOME, rig.now))
        rig.run(0.25)
        values, when = seen.pop(0)
        rig.plan(values, start=when)
    assert rig.status.dropped == 0 and set(rig.states) == {State.IDLE, State.EXECUTING}
    assert (np.diff(rig.path[:, 0]) > -1e-9).all()


@settings(max_examples=30, deadline=None)
@given(st.floats(0.0, 0.9), st.floats(0.0, 0.9), st.floats(0.05, 0.9))
def test_two_plans_from_before_anything_moved_are_in_step(first, wait, between):
    """The second one, the same again, changes nothing."""
    rig = Rig()
    rig.run(0.1)
    values, when = shifted(rig), rig.now
    rig.run(first)
    later = rig.now
    rig.run(wait)
    rig.plan(values, start=when)
    rig.run(between)
    left = rig.status.time_left
    rig.plan(values, start=later)
    assert rig.status.time_left == pytest.approx(left, abs=1e-9)
    rig.run(0.5)
    assert (np.diff(rig.path[:, 0]) > -1e-9).all()
    check_limits(rig.path)


def test_a_pause_of_the_pace_counts_as_no_motion_either():
    rig = Rig()
    rig.executor.scale(0.0)
    rig.run(0.2)
    seen, when = shifted(rig), rig.now
    rig.run(0.4)
    rig.plan(seen, start=when)
    rig.run(0.5)
    assert np.ptp(rig.path, axis=0).max() == 0
    rig.executor.scale(1.0)
    rig.run(3.5)
    np.testing.assert_allclose(rig.points[-1], seen[-1], atol=1e-6)
    check_limits(rig.path)


def test_a_plan_that_is_over_by_its_own_times_is_refused_at_rest_too():
    rig = Rig()
    rig.run(0.5)
    when = rig.now
    rig.run(2.1)
    with pytest.raises(PlanError, match=r"plan 1 ended 0\.1.*came too late"):
        rig.plan(shifted(rig), start=when)
    assert rig.state is State.IDLE


def test_a_plan_from_too_old_an_observation_is_refused_and_not_begun():
    rig = Rig(plan_timeout=0.5)
    rig.run(0.2)
    when = rig.now
    rig.run(0.6)
    with pytest.raises(PlanError, match=r"plan 1 is 0\.6.*plan_timeout"):
        rig.plan(shifted(rig), start=when)
    assert rig.state is State.IDLE
    rig.plan(shifted(rig), start=rig.now - 0.3)
    rig.run(0.15)
    assert rig.state is State.EXECUTING
    rig.run(0.1)  # its age counts from the observation, not from the begin of the motion
    assert "plan_timeout" in rig.executor.reason


def test_stop_and_go_takes_what_was_observed_at_rest_and_nothing_else():
    rig = Rig(HoldUntilDone(5))
    rig.plan(shifted(rig))
    rig.run(0.3)
    moving, when = shifted(rig), rig.now
    rig.run(0.6)
    assert rig.state is State.HOLD
    with pytest.raises(PlanError, match="hold_until_done"):
        rig.plan(moving, start=when)
    seen, when = shifted(rig), rig.now
    rig.run(1.0)
    rig.plan(seen, start=when)
    rig.run(1.0)
    np.testing.assert_allclose(rig.points[-1], seen[4], atol=1e-6)


def test_an_ensemble_forgets_plans_that_the_arm_came_to_rest_from():
    rig = Rig(TemporalEnsemble(0.1, 0.01, 4), plan_timeout=0.3)
    rig.plan(ramp(FAST, rows=50))
    rig.run(1.0)
    assert rig.state is State.HOLD
    rig.run(0.2)
    back = rig.measured - (ramp(FAST) - HOME)
    rig.plan(back)
    rig.run(0.25)
    assert rig.points[-1][0] < back[0, 0] - 0.05  # their mean would go on


def test_a_gripper_that_is_later_than_the_arm_still_gets_its_last_rows():
    rig = Rig(actuation_latency=0.5, gripper_latency=0.0)
    values = np.tile(HOME, (10, 1))
    values[5:, ARM] = 0.06
    values[9:, ARM] = 0.03
    rig.plan(values)
    rig.run(3.0)
    assert rig.state is State.HOLD
    assert rig.points[-1][ARM] == pytest.approx(0.03, abs=1e-9)


def test_a_plan_for_a_moving_arm_is_judged_where_it_was_observed():
    rig = Rig()
    rig.plan(ramp(FAST, rows=50))
    rig.run(0.6)
    seen, when = rig.measured, rig.now
    rig.run(0.5)
    turned = seen - (ramp(FAST) - HOME)  # what is due now is 1 rad from the arm
    rig.plan(turned, start=when)
    assert rig.status.seam == pytest.approx(1.0, abs=0.05)
    rig.run(6.0)
    np.testing.assert_allclose(rig.points[-1], turned[-1], atol=1e-6)
    check_limits(rig.path)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.4, 6.0), st.integers(0, ARM - 1), st.floats(0.0, 0.8), st.booleans())
def test_a_plan_that_begins_far_from_what_was_measured_is_refused(far, joint, age, moving):
    rig = Rig()
    if moving:
        rig.plan(ramp(FAST, rows=50))
    rig.run(0.6)
    seen, when = rig.measured, rig.now
    rig.run(age)
    wrong = seen + ramp(FAST) - HOME
    wrong[:, joint] += -far if joint == 0 else far
    dropped = rig.status.dropped
    with pytest.raises(PlanError, match=f"{NAMES[joint]}|range"):
        rig.plan(wrong, start=when)
    assert rig.status.dropped == dropped + 1


def test_columns_in_the_wrong_order_are_refused():
    rig = Rig()
    rig.run(0.1)
    with pytest.raises(PlanError, match=r"the plan begins at .* rad from the measured"):
        rig.plan(np.roll(shifted(rig), 1, axis=1))


def test_an_arm_that_others_moved_meanwhile_is_met_where_it_is():
    rig = Rig()
    rig.run(0.2)
    seen, when = shifted(rig), rig.now
    rig.measured = HOME + 0.5 * np.eye(8)[1]
    rig.run(0.2)
    with pytest.raises(PlanError, match=r"fr3_joint2: .* 0\.500 rad from the measured"):
        rig.plan(seen, start=when)


def test_after_a_release_it_waits_to_hear_where_the_arm_came_to_rest():
    rig = Rig()
    rig.plan(ramp(FAST))
    rig.run(0.6)
    rig.joints_arrive = False
    rig.executor.reset("reset")
    rig.run(0.15)
    assert rig.state is State.IDLE
    with pytest.raises(PlanError, match="no joint_states since the arm came to rest"):
        rig.plan(shifted(rig))
    assert "since the arm came to rest" in rig.status.reason
    rig.joints_arrive = True
    rig.run(PERIOD)
    rig.plan(shifted(rig))
    rig.run(1.0)
    for stroke in rig.strokes:
        check_stroke(stroke, Limits.from_robot(ROBOT))


def test_plan_time_stands_at_rest_and_remembers_only_its_begin_and_end():
    clock = Clock(0.1, 0.1)
    for index in range(20_000):
        clock.advance(0.1, 0.1 * index, resting=index >= 10)
    assert clock.due == pytest.approx(1.0) and clock.time == pytest.approx(2000.0)
    assert len(clock._stamps) < 20
    for stamp in (0.95, 500.0, 1999.9, 1999.95):
        assert clock.plan_time(stamp, 1999.97) == pytest.approx(1.0, abs=0.06)
    assert clock.plan_time(2000.5, 2000.0) == pytest.approx(1.6)
    clock.advance(0.1, 2000.0, resting=False)
    clock.advance(0.1, 2000.1, resting=False)
    assert clock.plan_time(1500.0, 2000.1) == pytest.approx(1.0)
    assert clock.plan_time(2000.1, 2000.1) == pytest.approx(1.2)


def test_measurements_are_found_by_their_time_and_are_bounded():
    measurement = Measurement(("a", "b"), 1.0)
    measurement.update({"a": 0.0}, 0.0, 0.0)
    for index in range(45_000):
        now = index * 0.001
        measurement.update({"a": now, "b": -now}, now, now)
        measurement.update({"b": -now}, now - 0.01, now)  # late, from another driver
    np.testing.assert_allclose(measurement.nearest(44.0004), [44.0, -44.0], atol=1e-9)
    np.testing.assert_allclose(measurement.nearest(44.0006), [44.001, -44.001], atol=1e-9)
    np.testing.assert_allclose(measurement.nearest(np.inf), [44.999, -44.999])
    assert 10.0 <= 44.999 - measurement.nearest(0.0)[0] <= 20.1
    measurement.update({"a": np.nan}, 45.0, 45.0)
    assert np.isfinite(measurement.nearest(45.0)).all()


def test_rest_is_the_same_with_the_motion_designed_ahead():
    """As the node does it: ticks go on between the first look at a plan and its begin."""
    rig = Rig(replace(BLEND, time=0.1))
    rig.run(0.5)
    when = rig.now - 0.4
    draft = consider(rig, shifted(rig), start=when)
    rig.run(PERIOD)
    draft.design()
    rig.executor.adopt(draft, rig.now)
    rig.run(2.5)
    assert rig.status.seam < FAST * 0.03
    np.testing.assert_allclose(rig.points[-1], HOME + FAST * 1.9 * np.eye(8)[0], atol=1e-6)
    check_limits(rig.path)
