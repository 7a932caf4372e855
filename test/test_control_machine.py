# SPDX-License-Identifier: Apache-2.0
"""The executor's states, with a clock that is only a number."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dm0_ros.control import Blend, Chunk, Executor, Limits, Replace, State
from dm0_ros.errors import PlanError
from dm0_ros.robots import load_robot
from dm0_ros.robots.spec import Space

FRANKA = load_robot("franka")
# The tests below count on these times, whatever is right for the real arm.
SETTINGS = replace(FRANKA.executor, rate=100.0, blend_time=0.3, state_timeout=0.25)
ROBOT = replace(FRANKA, executor=SETTINGS)
LIMITS = Limits.from_robot(ROBOT)
NAMES = ROBOT.column_names
HOME = np.array([ROBOT.home[name] for name in NAMES])
PERIOD = 1 / ROBOT.executor.rate
BLEND = Blend(ROBOT.executor.blend_time)


class Rig:
    """An executor with a perfect robot behind it: joint states are the last command."""

    def __init__(self, seam=BLEND, now=100.0):
        self.executor = Executor(ROBOT, seam)
        self.now = now
        self.sequence = 0
        self.measured = HOME.copy()
        self.joints_arrive = True
        self.points = []
        self.states = []
        self.strokes = [[]]  # (dt, set-point), a new list whenever commands pause
        self.ticked = now
        self.measure()

    def measure(self, stamp=None, **changes):
        positions = dict(zip(NAMES, self.measured, strict=True)) | changes
        self.executor.measure(positions, self.now if stamp is None else stamp, self.now)

    def plan(self, values, start=None, step=0.1, **changes):
        self.sequence += 1
        fields = {"sequence": self.sequence, "epoch": self.executor.epoch} | changes
        start = self.now if start is None else start
        self.executor.accept(
            Chunk(start, step, Space.JOINT_POSITION, NAMES, np.asarray(values), **fields),
            self.now,
        )

    def run(self, seconds):
        for _ in range(round(seconds / PERIOD)):
            self.now += PERIOD
            if self.joints_arrive:
                self.measure()
            point = self.executor.tick(self.now)
            elapsed, self.ticked = self.now - self.ticked, self.now
            if point is not None:
                self.measured = point.positions
                self.points.append(point.positions)
                dt = PERIOD if elapsed < 0 else min(elapsed, PERIOD)
                self.strokes[-1].append((dt, point.positions))
            elif self.strokes[-1]:
                self.strokes.append([])
            if not self.states or self.states[-1] != self.executor.state:
                self.states.append(self.executor.state)
        return self

    @property
    def path(self):
        return np.array(self.points)

    @property
    def state(self):
        return self.executor.state

    @property
    def status(self):
        return self.executor.status(self.now)


def move(column=0, distance=0.5, rows=20):
    """Rows that begin at home, speed up, and end at rest ``distance`` away."""
    ramp = (1 - np.cos(np.linspace(0, np.pi, rows))) / 2
    return HOME + distance * ramp[:, None] * np.eye(len(NAMES))[column]


def ramp(speed=0.5, rows=20, step=0.1):
    """Rows of constant speed, from home."""
    return HOME + speed * step * np.arange(rows)[:, None] * np.eye(len(NAMES))[0]


def check_limits(path):
    """Set-points one period apart keep every limit and are continuous from home on."""
    path = np.vstack([path[:1], path])
    velocity = np.diff(path, axis=0) / PERIOD
    assert np.isfinite(path).all()
    assert (np.abs(velocity) <= LIMITS.velocity + 1e-6).all()
    acceleration = np.diff(velocity, axis=0)[:, :7] / PERIOD
    assert (np.abs(acceleration) <= LIMITS.acceleration[:7] + 1e-3).all()
    assert (path >= LIMITS.lower - 1e-9).all() and (path <= LIMITS.upper + 1e-9).all()


def test_commands_nothing_before_a_plan():
    rig = Rig().run(0.5)
    assert rig.state is State.IDLE and not rig.points
    assert math.isnan(rig.status.observation_age)


def test_follows_a_plan_on_time_then_starves_then_holds():
    rig = Rig()
    rig.plan(move())
    rig.run(1.0)
    assert rig.status.time_left == pytest.approx(1.0)
    assert rig.status.observation_age == pytest.approx(1.0)
    np.testing.assert_allclose(rig.points[-1], move()[10], atol=1e-6)
    rig.run(1.5)
    assert rig.states == [State.EXECUTING, State.STARVED, State.HOLD]
    assert rig.executor.reason == "plan 1 ran out and no newer one came"
    assert not rig.status.needs_reset
    np.testing.assert_allclose(rig.points[-1], move()[-1], atol=1e-6)
    held = len(rig.points)
    rig.run(1.0)
    assert len(rig.points) == held + 100
    np.testing.assert_array_equal(np.ptp(rig.path[held:], axis=0), 0)
    check_limits(rig.path)


def test_a_new_plan_resumes_after_starvation():
    rig = Rig()
    rig.plan(move())
    rig.run(3.0)
    rig.plan(move()[::-1])
    rig.run(3.0)
    assert rig.states == [State.EXECUTING, State.STARVED, State.HOLD] * 2
    np.testing.assert_allclose(rig.points[-1], HOME, atol=1e-6)
    check_limits(rig.path)


def test_starving_behind_the_plan_brakes_along_the_velocity():
    rig = Rig()
    rig.plan(move(distance=0.34, rows=2), step=0.1)  # too fast: the set-point is behind at its end
    rig.run(0.2)
    assert rig.state is State.STARVED
    behind = rig.points[-1][0]
    rig.run(1.0)
    assert rig.state is State.HOLD
    assert behind < rig.points[-1][0] < 0.34
    check_limits(rig.path)


def test_a_late_plan_is_used_from_where_time_is():
    late, early = Rig(), Rig()
    early.plan(ramp(0.2))
    early.run(1.5)
    late.run(0.5)
    late.plan(ramp(0.2), start=100.0)
    late.run(1.0)
    np.testing.assert_allclose(late.points[-1], early.points[-1], atol=1e-9)
    check_limits(late.path)


def test_plans_that_overlap_blend_without_a_step():
    rig = Rig()
    rig.plan(ramp(0.3))
    for _ in range(10):
        rig.run(0.5)
        target = rig.measured + np.array([0.02, -0.05, 0.05, 0, 0, 0, 0.05, 0])
        rig.plan(target + ramp(0.3) - HOME)
        assert rig.status.seam == pytest.approx(0.05, abs=0.01)
    check_limits(rig.path)
    assert rig.executor.status(rig.now).limited == ()
    assert set(rig.states) == {State.EXECUTING}


def test_a_plan_of_the_future_waits_for_its_start():
    rig = Rig()
    rig.plan(move(), start=100.5)
    rig.run(0.5)
    np.testing.assert_allclose(rig.path, np.tile(HOME, (50, 1)), atol=1e-12)
    rig.run(2.5)
    np.testing.assert_allclose(rig.points[-1], move()[-1], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"epoch": 1}, "the epoch is 0"),
        ({"sequence": 1}, "plan 1 came before it"),
        ({"sequence": 0}, "plan 1 came before it"),
        ({"start": 90.0}, "ended 8.*came too late"),
        ({"start": 200.0}, "clocks"),
    ],
)
def test_plans_out_of_turn_or_time_are_refused_and_counted(changes, match):
    rig = Rig()
    rig.plan(move())
    with pytest.raises(PlanError, match=match):
        rig.plan(move(), **changes)
    assert rig.status.dropped == 1
    assert rig.status.sequence == 1


def test_a_plan_that_begins_far_away_is_refused():
    rig = Rig()
    with pytest.raises(PlanError, match=r"fr3_joint1: .* 0\.400 rad from the measured"):
        rig.plan(move() + 0.4 * np.eye(8)[0])
    assert rig.state is State.IDLE and rig.executor.tick(rig.now) is None


def test_stop_brakes_and_only_a_reset_helps():
    rig = Rig()
    rig.plan(ramp(1.0))
    rig.run(0.8)
    rig.executor.stop("stopped by ~/stop")
    assert rig.state is State.HOLD
    rig.run(0.3)
    stopped = rig.path[-1]
    with pytest.raises(PlanError, match="stopped by ~/stop; reset first"):
        rig.plan(ramp() - HOME + stopped)
    rig.run(1.0)
    assert rig.status.needs_reset
    np.testing.assert_array_equal(rig.path[-1], stopped)
    check_limits(rig.path)
    rig.executor.reset("reset by ~/reset")
    assert rig.state is State.IDLE and rig.executor.epoch == 1
    commanded = len(rig.points)
    rig.run(0.2)
    assert len(rig.points) == commanded
    with pytest.raises(PlanError, match="epoch 0: the epoch is 1"):
        rig.plan(ramp() - HOME + stopped, epoch=0)
    rig.plan(ramp() - HOME + stopped)
    rig.run(1.0)
    assert rig.state is State.EXECUTING
    check_limits(rig.path)


def test_stop_before_any_plan_refuses_plans():
    rig = Rig()
    rig.executor.stop("stopped")
    with pytest.raises(PlanError, match="reset first"):
        rig.plan(move())
    assert rig.run(0.1).points == []


def test_reset_in_motion_comes_to_rest_first():
    rig = Rig()
    rig.plan(ramp(1.0))
    rig.run(0.8)
    rig.executor.reset("reset")
    assert rig.executor.epoch == 1 and rig.state is State.STARVED
    rig.run(0.5)
    assert rig.state is State.IDLE
    check_limits(np.vstack([rig.path, rig.path[-1:]]))


def test_the_next_plan_after_a_reset_begins_at_the_measured_state():
    rig = Rig()
    rig.plan(move())
    rig.run(3.0)
    rig.executor.reset("reset")
    rig.measured = HOME + 0.05  # someone moved the arm
    rig.run(0.1)
    rig.points.clear()
    rig.plan(move() + 0.05)
    rig.run(0.1)
    np.testing.assert_allclose(rig.points[0], HOME + 0.05, atol=1e-3)


def test_joint_states_that_stop_are_a_fault_by_name():
    rig = Rig()
    rig.plan(ramp(1.0))
    rig.run(0.8)
    rig.joints_arrive = False
    rig.run(0.6)
    assert rig.state is State.FAULT
    assert "fr3_joint1 is 0.2" in rig.executor.reason and "state_timeout" in rig.executor.reason
    check_limits(np.vstack([rig.path, rig.path[-1:]]))
    rig.joints_arrive = True
    rig.run(0.2)
    with pytest.raises(PlanError, match="reset first"):
        rig.plan(ramp() - HOME + rig.measured)
    assert rig.state is State.FAULT


def test_joint_states_that_wait_unread_after_a_stall_are_no_fault():
    rig = Rig()
    rig.plan(ramp(rows=50))
    rig.run(0.5)
    rig.now += 0.4  # this process was not scheduled
    rig.joints_arrive = False
    rig.run(0.1)
    assert rig.state is State.EXECUTING
    rig.joints_arrive = True
    rig.run(0.5)
    assert rig.state is State.EXECUTING
    rig.now += 0.4
    rig.joints_arrive = False
    rig.run(0.4)
    assert rig.state is State.FAULT


def test_stamps_of_the_future_do_not_keep_joint_states_young():
    rig = Rig()
    rig.plan(ramp())
    rig.run(0.3)
    rig.measure(stamp=rig.now + 100)
    rig.joints_arrive = False
    rig.run(0.3)
    assert rig.state is State.FAULT


def test_a_joint_state_that_is_not_finite_is_a_fault_by_name():
    rig = Rig()
    rig.plan(ramp())
    rig.run(0.3)
    rig.measure(fr3_joint5=math.nan)
    assert rig.state is State.FAULT
    assert rig.executor.reason == "joint_states says nan for fr3_joint5"


def test_joints_may_come_in_parts_and_one_that_never_came_is_named():
    rig = Rig()
    rig.executor = Executor(ROBOT, BLEND)
    with pytest.raises(PlanError, match="no joint_states yet"):
        rig.plan(move())
    arm = dict(zip(NAMES[:7], HOME[:7], strict=True))
    rig.executor.measure(arm | {"wheel": 1.0}, rig.now, rig.now)
    with pytest.raises(PlanError, match=r"lacks fr3_finger_joint1; it has fr3_joint1.*wheel"):
        rig.plan(move())
    rig.executor.measure({NAMES[7]: HOME[7]}, rig.now, rig.now)
    rig.plan(move())


def test_a_clock_that_steps_back_holds():
    rig = Rig()
    rig.plan(ramp(1.0))
    rig.run(0.8)
    rig.now -= 50
    rig.run(0.5)
    assert rig.state is State.HOLD and "stepped back by 49.99" in rig.executor.reason
    check_limits(rig.path)
    with pytest.raises(PlanError, match="stepped back"):
        rig.plan(ramp() - HOME + rig.measured)


def test_a_clock_that_stands_still_repeats_the_set_point():
    rig = Rig()
    rig.plan(ramp())
    rig.run(0.5)
    first, second = rig.executor.tick(rig.now), rig.executor.tick(rig.now)
    np.testing.assert_array_equal(first.positions, second.positions)


def test_after_missed_ticks_the_set_point_catches_up_within_the_limits():
    rig = Rig()
    rig.plan(move(distance=0.8, rows=20))
    for _ in range(15):
        rig.run(0.1)
        rig.now += 4 * PERIOD
    rig.run(1.0)
    check_limits(rig.path)
    np.testing.assert_allclose(rig.points[-1], move(distance=0.8)[-1], atol=1e-4)


def test_preview_is_where_the_set_point_will_be_and_ends_at_rest():
    rig = Rig()
    rig.plan(ramp())
    rig.run(0.7)
    points = rig.executor.preview(rig.now, PERIOD, 20)
    rig.points.clear()
    rig.run(0.2)
    np.testing.assert_allclose(np.array([p.positions for p in points[:20]]), rig.path, atol=1e-9)
    np.testing.assert_allclose([p.velocities[0] for p in points[:20]], 0.5, atol=1e-6)
    assert not points[-1].velocities.any() and not points[-1].accelerations.any()
    assert points[-1].time > points[-2].time
    assert points[-1].positions[0] > points[-2].positions[0]


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["plan"] * 6 + ["stop", "reset", "clock", "mute", "unmute", "old", "gap"]),
        st.floats(0.0, 0.8),  # s until it happens
        st.integers(0, 2**32 - 1),
    ),
    max_size=15,
)


def happen(rig, kind, seed):
    generator = np.random.default_rng(seed)
    if kind in ("plan", "old"):
        rows = generator.integers(1, 30)
        size = generator.choice([0.01, 0.1, 1.0])
        noise = generator.normal(size=(rows, 8)) * size
        if generator.random() < 0.1:
            noise[-1, 0] = generator.choice([np.nan, np.inf, 1e9])
        try:
            rig.plan(
                rig.measured + np.cumsum(noise, 0) * generator.choice([0.1, 1.0]),
                start=rig.now - generator.uniform(-0.2, 1.0),
                step=generator.choice([0.02, 0.1, 0.2]),
                epoch=rig.executor.epoch - (kind == "old"),
            )
        except PlanError as error:
            assert str(error)
    elif kind == "stop":
        rig.executor.stop("stop")
    elif kind == "reset":
        rig.executor.reset("reset")
    elif kind == "clock":
        rig.now += generator.uniform(-30, 30)
    elif kind == "gap":
        rig.now += 2 * PERIOD
    else:
        rig.joints_arrive = kind == "unmute"


@settings(max_examples=100, deadline=None)
@given(EVENTS, st.sampled_from([BLEND, Replace(), Blend(0.0)]))
@example([("plan", 0.0, 3), ("clock", 0.0, 2)], BLEND)
def test_no_history_breaks_a_limit_or_moves_without_a_plan(events, seam):
    rig, again = Rig(seam), Rig(seam)
    for kind, wait, seed in events:
        for one in (rig, again):
            happen(one, kind, seed)
            one.run(wait)
    for one in (rig, again):
        one.joints_arrive = True
        one.run(7.0)  # the longest plan has 30 rows of 0.2 s, and may begin 0.2 s late
    assert rig.state in (State.IDLE, State.HOLD, State.FAULT)
    held = len(rig.points)
    rig.run(0.5)
    if len(rig.points) > held:
        np.testing.assert_array_equal(np.ptp(rig.path[held - 1 :], axis=0), 0)
    np.testing.assert_array_equal(rig.path[: len(again.path)], again.path)
    for stroke in rig.strokes:
        check_stroke(stroke)


def check_stroke(stroke):
    """Set-points that followed each other keep every limit over the time between them."""
    if len(stroke) < 3:
        return
    dt = np.array([entry[0] for entry in stroke])[1:, None]
    path = np.array([entry[1] for entry in stroke])
    velocity = np.diff(path, axis=0) / dt
    acceleration = (np.diff(velocity, axis=0) / dt[1:])[:, :7]
    assert np.isfinite(path).all()
    assert (np.abs(velocity) <= LIMITS.velocity + 1e-6).all()
    assert (np.abs(acceleration) <= LIMITS.acceleration[:7] + 1e-2).all()
    assert (path >= LIMITS.lower - 1e-9).all() and (path <= LIMITS.upper + 1e-9).all()


def test_rows_outside_the_range_are_obeyed_up_to_its_end_and_named():
    rig = Rig()
    rig.plan(move(distance=4.0, rows=50))
    rig.run(4.0)
    assert rig.status.limited == ("fr3_joint1: position",)
    rig.run(2.0)
    assert rig.points[-1][0] == pytest.approx(LIMITS.upper[0], abs=1e-4)
    check_limits(rig.path)
