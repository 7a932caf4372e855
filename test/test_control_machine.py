# SPDX-License-Identifier: Apache-2.0
"""The executor's states, with a clock that is only a number."""

import math
from dataclasses import replace

import numpy as np
import pytest
from control_samples import ARM, HOME, LIMITS, NAMES, ROBOT, SETTINGS, check_path
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dm0_ros.control import (
    Blend,
    Chunk,
    Executor,
    HoldUntilDone,
    Limits,
    Replace,
    Rtc,
    State,
    TemporalEnsemble,
)
from dm0_ros.errors import PlanError
from dm0_ros.robots.spec import Space

PERIOD = 1 / ROBOT.executor.rate
BLEND = Blend(ROBOT.executor.blend_time)


class Rig:
    """An executor with a perfect robot behind it: joint states are the last command."""

    def __init__(self, seam=BLEND, now=100.0, robot=ROBOT, **executor):
        robot = replace(robot, executor=replace(SETTINGS, **executor))
        self.executor = Executor(robot, seam)
        self.now = now
        self.sequence = 0
        self.measured = HOME.copy()
        self.joints_arrive = True
        self.points = []
        self.states = []
        self.own = 0.0  # s that passed for the executor, which never makes up for lost time
        self.strokes = [[]]  # (own time, set-point), a new list whenever commands pause
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

    def run(self, seconds, jitter=None):
        for _ in range(round(seconds / PERIOD)):
            self.now += PERIOD if jitter is None else PERIOD * jitter.uniform(0.3, 1.7)
            if self.joints_arrive:
                self.measure()
            point = self.executor.tick(self.now)
            elapsed, self.ticked = self.now - self.ticked, self.now
            before = self.own
            self.own += PERIOD if elapsed < 0 else min(elapsed, PERIOD)
            if point is not None:
                if not self.strokes[-1]:  # until now the arm was at rest where it is
                    rest = [(before - k * PERIOD, self.measured) for k in (2, 1, 0)]
                    self.strokes[-1].extend(rest)
                self.measured = point.positions
                self.points.append(point.positions)
                self.strokes[-1].append((self.own, point.positions))
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
    """Set-points one period apart keep every limit. From rest on: see `check_stroke`."""
    check_path(np.arange(len(path)) * PERIOD, path)


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


def test_a_plan_that_is_too_fast_is_slowed_down_and_says_by_whom():
    rig = Rig()
    rig.plan(move(distance=0.34, rows=2), step=0.1)
    rig.run(0.2)
    assert rig.state is State.EXECUTING
    assert rig.status.limited == ("fr3_joint1: acceleration", "fr3_joint1: velocity")
    rig.run(2.0)
    assert rig.state is State.HOLD
    assert rig.points[-1][0] == pytest.approx(0.34, abs=1e-6)
    check_limits(rig.path)


def test_a_late_plan_is_used_from_where_time_is():
    late, early = Rig(), Rig()
    early.plan(ramp(0.2))
    early.run(1.5)
    late.plan(np.tile(HOME, (20, 1)))
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
    check_limits(rig.path)


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
    check_limits(rig.path)
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


def test_missed_ticks_make_the_set_point_late_but_never_fast():
    rig = Rig()
    rig.plan(move(distance=0.8, rows=20))
    for _ in range(15):
        rig.run(0.1)
        rig.now += 4 * PERIOD
    rig.run(1.2)
    check_limits(rig.path)
    np.testing.assert_allclose(rig.points[-1], move(distance=0.8)[-1], atol=1e-4)


def test_a_plan_after_missed_ticks_begins_where_the_robot_is():
    rig = Rig()
    rig.plan(ramp(0.5, rows=50))
    rig.run(1.0)
    rig.now += 0.5  # nothing was commanded, so the robot stood
    rig.measure()
    here = rig.measured + ramp(0.5) - HOME
    rig.plan(here, start=rig.now - 0.1)
    assert rig.status.seam < 0.01
    rig.run(0.5)
    check_limits(rig.path)


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


SEAMS = (
    BLEND,
    Blend(0.0),
    Replace(),
    HoldUntilDone(10),
    TemporalEnsemble(0.3, 0.01, 4),
    Rtc(0.05),
)
KINDS = ["plan"] * 12 + ["stop", "reset", "clock", "mute", "unmute", "old", "gap", "pace", "again"]


def consider(rig, values, ahead=0.02, **changes):
    """A plan in the three steps of a node, without the last."""
    rig.sequence += 1
    chunk = Chunk(
        rig.now, 0.1, Space.JOINT_POSITION, NAMES, values, rig.sequence, rig.executor.epoch
    )
    return rig.executor.consider(replace(chunk, **changes), rig.now, ahead)


def test_a_draft_counts_from_where_it_was_meant_to_while_ticks_go_on():
    rig = Rig()
    rig.plan(ramp(0.3))
    rig.run(0.5)
    draft = consider(rig, rig.measured + ramp(0.3) - HOME + 0.03 * np.eye(8)[1])
    foreseen = rig.executor.preview(rig.now, PERIOD, 3)
    rig.run(PERIOD)
    draft.design()
    rig.executor.adopt(draft, rig.now)
    rig.run(PERIOD)
    for index in (0, 1):  # until then the old motion goes on
        np.testing.assert_allclose(rig.points[index - 2], foreseen[index].positions, atol=1e-9)
    assert rig.status.sequence == 2 and rig.status.seam == pytest.approx(0.03, abs=1e-3)
    rig.run(2.5)
    np.testing.assert_allclose(rig.points[-1][:ARM], draft.path.rest, atol=1e-9)
    check_limits(rig.path)


def test_a_draft_that_comes_too_late_is_designed_anew():
    rig = Rig()
    rig.plan(ramp(0.3))
    rig.run(0.5)
    draft = consider(rig, rig.measured + ramp(0.3) - HOME + 0.1 * np.eye(8)[1])
    draft.design()
    rig.run(0.3)
    rig.executor.adopt(draft, rig.now)
    rig.run(1.0)
    assert rig.status.sequence == 2
    check_limits(rig.path)


def test_a_draft_from_before_a_stop_or_a_reset_moves_nothing():
    for halt, words in (("stop", "reset first"), ("reset", "the epoch is 1")):
        rig = Rig()
        rig.plan(ramp(0.3))
        rig.run(0.5)
        draft = consider(rig, rig.measured + ramp(0.3) - HOME)
        draft.design()
        getattr(rig.executor, halt)("halt")
        place = rig.points[-1]
        with pytest.raises(PlanError, match=words):
            rig.executor.adopt(draft, rig.now)
        rig.run(1.0)
        assert rig.state in (State.HOLD, State.IDLE)
        assert np.abs(rig.points[-1] - place).max() < 0.3 * 0.04  # braking from 0.3 rad/s
        check_limits(rig.path)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.floats(0.0, 0.8),  # s until it happens
        st.integers(0, 2**32 - 1),
    ),
    max_size=15,
)


def send_plan(rig, generator, old):
    rows = generator.integers(1, 30)
    size = generator.choice([0.003, 0.01, 0.03, 0.1, 0.5])
    noise = generator.normal(size=(rows, 8)) * size
    if generator.random() < 0.1:
        noise[-1, 0] = generator.choice([np.nan, np.inf, 1e9])
    try:
        rig.plan(
            rig.measured + np.cumsum(noise, 0) * generator.choice([0.1, 1.0]),
            start=rig.now - generator.uniform(-0.2, 0.4),
            step=generator.choice([0.02, 0.1, 0.2]),
            epoch=rig.executor.epoch - old,
        )
    except PlanError as error:
        assert str(error)


def happen(rig, kind, seed):
    generator = np.random.default_rng(seed)
    if kind in ("plan", "old"):
        send_plan(rig, generator, kind == "old")
    elif kind == "again":  # one that was sent before
        rig.sequence -= 1
        send_plan(rig, generator, False)
    elif kind == "stop":
        rig.executor.stop("stop")
    elif kind == "reset":
        rig.executor.reset("reset")
    elif kind == "clock":
        rig.now += generator.uniform(-30, 30)
    elif kind == "gap":
        rig.now += 2 * PERIOD
    elif kind == "pace":
        rig.executor.scale(generator.choice([0.0, 0.3, 0.7, 1.0]))
    else:
        rig.joints_arrive = kind == "unmute"
    if rig.state in (State.HOLD, State.FAULT) and generator.random() < 0.6:
        rig.executor.reset("go on")


# A heavy arm: a quarter of a second to full acceleration, and every joint different.
HEAVY = replace(
    ROBOT,
    joints=tuple(
        replace(
            joint, velocity=0.8 + 0.2 * index, acceleration=2.0 + index, jerk=8.0 + 9.0 * index
        )
        for index, joint in enumerate(ROBOT.joints)
    ),
)


# The pace goes to zero in mid-plan, where the path leaves no room for a start at full pace.
PAUSED = [
    ("plan", 0.0, 4955),
    ("plan", 0.0, 4955),
    ("plan", 0.2687165983978947, 294),
    ("plan", 0.0, 4955),
    ("pace", 0.0031706031986857407, 294),
    ("gap", 0.47388492699824875, 1192),
    ("plan", 0.0031706031986857407, 86),
]


@settings(max_examples=300, deadline=None)
@given(EVENTS, st.sampled_from(SEAMS), st.booleans(), st.sampled_from([ROBOT, HEAVY]))
@example([("plan", 0.0, 3), ("clock", 0.0, 2)], BLEND, False, ROBOT)
@example(PAUSED, Replace(), False, HEAVY)
def test_no_history_breaks_a_limit_or_moves_without_a_plan(events, seam, jitter, robot):
    rigs = [Rig(seam, robot=robot, approach=jitter) for _ in range(2)]
    for kind, wait, seed in events:
        for rig in rigs:
            happen(rig, kind, seed)
            rig.run(wait, np.random.default_rng(seed) if jitter else None)
    for rig in rigs:
        rig.joints_arrive = True
        rig.executor.scale(1.0)
        for _ in range(60):  # s; an approach at a tenth of the limits is the longest motion
            if rig.state in (State.IDLE, State.HOLD, State.FAULT):
                break
            rig.run(1.0)
        rig.run(2.0)  # braking, where a stop or a fault was the last
    rig, again = rigs
    assert rig.state in (State.IDLE, State.HOLD, State.FAULT)
    held = len(rig.points)
    rig.run(0.5)
    if len(rig.points) > held:
        np.testing.assert_array_equal(np.ptp(rig.path[held - 1 :], axis=0), 0)
    np.testing.assert_array_equal(rig.path[: len(again.path)], again.path)
    for stroke in rig.strokes:
        check_stroke(stroke, Limits.from_robot(robot))


def check_stroke(stroke, limits):
    """Set-points that followed each other keep every limit over the time between them."""
    if len(stroke) < 4:
        return
    times = np.array([time for time, _ in stroke])
    path = np.array([positions for _, positions in stroke])
    kept = np.append(True, np.diff(times) > 1e-3)  # what is closer says nothing but rounding
    check_path(times[kept], path[kept], limits)
    opening = np.abs(np.diff(path[kept][:, ARM:], axis=0)) / np.diff(times[kept])[:, None]
    assert (opening <= LIMITS.velocity[ARM:] + 1e-6).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.sampled_from([0.02, 0.05, 0.1, 0.2]), st.sampled_from(SEAMS))
def test_rows_take_as_many_steps_as_they_are(rows, step, seam):
    rig = Rig(seam)
    rig.plan(np.tile(HOME, (rows, 1)), step=step)
    played = min(rows, seam.executed_rows) if isinstance(seam, HoldUntilDone) else rows
    ticks = 0
    while rig.state is State.EXECUTING:
        rig.run(PERIOD)
        ticks += 1
    assert ticks == pytest.approx(max(round(played * step / PERIOD), 1), abs=1)
    assert rig.state in (State.STARVED, State.HOLD)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_what_is_late_double_or_out_of_order_changes_nothing(seed):
    calm, noisy = Rig(), Rig()
    for rig in (calm, noisy):
        generator = np.random.default_rng(seed)
        for _ in range(4):
            if rig is noisy:
                drop = np.random.default_rng(seed)
                for changes in (
                    {"sequence": rig.sequence},
                    {"sequence": max(0, rig.sequence - 2)},
                    {"epoch": 7, "sequence": 99},
                    {"start": rig.now - 90, "sequence": 99},
                    {"start": rig.now + 90, "sequence": 99},
                ):
                    if rig.sequence == 0 and changes.get("sequence") == 0:
                        continue
                    with pytest.raises(PlanError):
                        rig.plan(rig.measured + drop.normal(size=(9, 8)) * 0.05, **changes)
                    rig.sequence -= 1
            rig.plan(rig.measured + np.cumsum(generator.normal(size=(12, 8)) * 0.01, axis=0))
            rig.run(generator.uniform(0.1, 0.5))
    np.testing.assert_array_equal(calm.path, noisy.path)
    assert noisy.status.dropped >= 18 and calm.status.dropped == 0


@settings(max_examples=60, deadline=None)
@given(st.floats(0.1, 1.4), st.floats(0.1, 2.5), st.sampled_from(["stop", "fail", "reset"]))
def test_it_stands_within_the_stated_time_after_a_stop(when, speed, how):
    rig = Rig()
    rig.plan(ramp(speed))
    rig.run(when)
    velocity = np.abs(np.diff(rig.path[-2:], axis=0)).max(initial=0) / PERIOD + 0.1
    getattr(rig.executor, how)(how)
    bound = velocity / 10.0 + 3 * 10.0 / 5000.0
    rig.run(bound + 2 * PERIOD)
    held = len(rig.points)
    rig.run(1.0)
    moved = np.ptp(rig.path[held - 1 :], axis=0) if len(rig.points) else np.zeros(8)
    np.testing.assert_array_equal(moved, 0)
    check_limits(rig.path)


def test_the_pace_slows_the_plan_and_pauses_it_within_the_limits():
    rig = Rig()
    rig.plan(ramp(0.4, rows=60))
    rig.run(1.0)
    rig.executor.scale(0.5)
    rig.run(2.0)
    before = rig.points[-1][0]
    rig.run(0.5)
    assert rig.points[-1][0] - before == pytest.approx(0.4 * 0.5 * 0.5, abs=1e-6)
    rig.executor.scale(0.0)
    rig.run(2.0)
    assert rig.state is State.EXECUTING
    np.testing.assert_array_equal(np.ptp(rig.path[-50:], axis=0), 0)
    left = rig.status.time_left
    rig.executor.scale(1.0)
    rig.run(left + 1.0)
    assert rig.state is State.HOLD
    np.testing.assert_allclose(rig.points[-1], ramp(0.4, rows=60)[-1], atol=1e-6)
    check_limits(rig.path)
    with pytest.raises(ValueError, match=r"pace of 1\.5"):
        rig.executor.scale(1.5)


def test_a_plan_that_breaks_a_limit_while_the_pace_changes_waits():
    rig = Rig(Replace())
    rig.plan(ramp(0.2, rows=60))
    rig.run(0.5)
    rig.executor.scale(0.3)
    rig.run(2 * PERIOD)
    hasty = ramp(0.2, rows=60) + 0.1 * np.eye(8)[1]
    with pytest.raises(PlanError, match="plan 2 cannot be followed while the pace changes"):
        rig.plan(hasty)
    rig.run(0.5)
    assert rig.state is State.EXECUTING and rig.status.sequence == 1
    rig.plan(hasty)
    rig.run(1.0)
    check_limits(rig.path)


def test_a_plan_made_at_half_pace_is_met_where_the_robot_is():
    rig = Rig()
    rig.plan(ramp(0.4, rows=60))
    rig.executor.scale(0.5)
    rig.run(2.0)
    seen, when = rig.measured, rig.now
    rig.run(0.4)
    rig.plan(seen + ramp(0.4) - HOME, start=when)
    assert rig.status.seam < 1e-3
    rig.run(0.5)
    check_limits(rig.path)


def test_a_plan_that_grows_old_is_left_where_that_is_wanted():
    rig = Rig(plan_timeout=0.5)
    rig.plan(ramp(0.5, rows=50))
    rig.run(0.8)
    assert rig.state is State.HOLD
    assert "plan 1 is 0.5" in rig.executor.reason and "plan_timeout" in rig.executor.reason
    assert not rig.status.needs_reset
    rig.plan(rig.measured + ramp(0.5) - HOME)
    rig.run(0.3)
    assert rig.state is State.EXECUTING
    check_limits(rig.path)


def test_an_approach_is_slow_and_waits_for_a_fresh_plan():
    rig = Rig(approach=True)
    far = move() + 1.0 * np.eye(8)[0]
    rig.plan(far)
    assert rig.state is State.APPROACH
    rig.run(1.0)
    with pytest.raises(PlanError, match="still moving slowly to the first row of plan 1"):
        rig.plan(far)
    rig.run(6.0)
    assert rig.states == [State.APPROACH, State.HOLD]
    assert "plan again" in rig.status.reason
    np.testing.assert_allclose(rig.points[-1][:ARM], far[0, :ARM], atol=1e-6)
    speed = np.abs(np.diff(rig.path[:, :ARM], axis=0)).max(0) / PERIOD
    assert (speed <= 0.1 * LIMITS.velocity[:ARM] + 1e-6).all() and speed[0] > 0.2
    check_limits(rig.path)
    rig.plan(far)
    rig.run(0.1)
    assert rig.state is State.EXECUTING


def test_an_approach_ends_like_any_motion_by_stop_and_by_silence():
    for silent in (False, True):
        rig = Rig(approach=True)
        rig.plan(move() + 1.0 * np.eye(8)[0])
        rig.run(2.0)
        if silent:
            rig.joints_arrive = False
            rig.run(0.5)
            assert rig.state is State.FAULT
        else:
            rig.executor.stop("stop")
            rig.run(0.5)
            assert rig.state is State.HOLD
        held = rig.points[-1]
        rig.joints_arrive = True
        rig.run(1.0)
        np.testing.assert_array_equal(rig.points[-1], held)
        check_limits(rig.path)


def test_latencies_make_commands_earlier_each_for_its_device():
    late = Rig(observation_latency=0.05, actuation_latency=0.1, gripper_latency=0.3)
    values = ramp(0.3, rows=40)
    values[:, ARM] = np.linspace(0.02, 0.04, 40)
    plain = Rig()
    for rig in (late, plain):
        rig.plan(np.tile(HOME, (20, 1)))
        rig.run(0.5)
        rig.points.clear()
        rig.plan(values)
        rig.run(2.35)
    np.testing.assert_allclose(late.points[199][:ARM], plain.points[214][:ARM], atol=1e-6)
    assert late.points[199][ARM] == pytest.approx(plain.points[234][ARM], abs=1e-6)


def test_what_is_committed_is_what_was_and_will_be_commanded():
    rig = Rig()
    assert not len(rig.executor.committed(rig.now, 0.1, 5, rig.now))
    rig.plan(ramp(0.4, rows=30))
    rig.run(1.0)
    start, now = rig.now - 0.3, rig.now
    rows = rig.executor.committed(start, 0.1, 50, now)
    begin = len(rig.points) - 31
    rig.run(3.0)
    expected = rig.path[begin::10][: len(rows)]
    assert 20 <= len(rows) < 30  # to the end of the motion
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    assert not len(rig.executor.committed(now - 50, 0.1, 5, rig.now))


@pytest.mark.parametrize("seam", SEAMS)
def test_an_arm_beyond_its_range_comes_back_and_never_goes_further_out(seam):
    rig = Rig(seam)
    rig.measured = HOME + (LIMITS.upper[0] + 0.02 - HOME[0]) * np.eye(8)[0]
    rig.measure()
    inwards = move(distance=-0.5) + (LIMITS.upper[0] - HOME[0]) * np.eye(8)[0]
    rig.plan(inwards)
    rig.run(0.3)
    rig.executor.reset("reset while it is on its way")
    rig.run(0.5)
    rig.plan(rig.measured + move(distance=-0.5) - HOME)
    rig.executor.scale(0.5)
    rig.run(7.0)
    path = rig.path[:, 0]
    assert rig.state is State.HOLD and path[-1] < LIMITS.upper[0] - 0.2
    assert path.max() <= LIMITS.upper[0] + 0.02 + 1e-9


def test_rows_outside_the_range_are_obeyed_up_to_its_end_and_named():
    rig = Rig()
    rig.plan(move(distance=4.0, rows=50))
    rig.run(4.0)
    assert "fr3_joint1: position" in rig.status.limited
    rig.run(3.0)
    assert rig.points[-1][0] == pytest.approx(LIMITS.upper[0], abs=1e-4)
    check_limits(rig.path)
