# SPDX-License-Identifier: Apache-2.0
"""Random robots, plans, arrivals and losses: what the executor guarantees, at every tick."""

from dataclasses import replace

import numpy as np
import pytest
from control_samples import ARM, HOME, NAMES, ROBOT, SETTINGS, check_path, random_limits
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dm0_ros.control import Blend, Chunk, Executor, Limits, State
from dm0_ros.errors import PlanError
from dm0_ros.robots.spec import Space

PERIOD = 1 / SETTINGS.rate
PLANS = 6  # of every history: 200 of them have 1200
SEEDS = st.integers(0, 2**32 - 1)


def random_robot(generator):
    """A Franka of another make: its own limits in every joint."""
    limits = random_limits(generator)
    joints = tuple(
        replace(
            joint,
            velocity=float(limits.velocity[k]),
            acceleration=float(limits.acceleration[k]),
            jerk=float(limits.jerk[k]),
        )
        for k, joint in enumerate(ROBOT.joints)
    )
    return replace(ROBOT, joints=joints)


class Line:
    """A robot that is where it was told to be, and plans that come when they come."""

    def __init__(self, robot):
        self.executor = Executor(robot, Blend(SETTINGS.blend_time))
        self.limits = Limits.from_robot(robot)
        self.now, self.path = 100.0, [HOME] * 3
        self.ticked, self.own = 100.0, [-2 * PERIOD, -PERIOD, 0.0]  # s, of every command
        self.paused = True  # nothing is commanded
        self.tell()

    def tell(self):
        self.executor.measure(dict(zip(NAMES, self.path[-1], strict=True)), self.now, self.now)

    def run(self, seconds):
        for _ in range(round(seconds / PERIOD)):
            self.now += PERIOD
            self.tell()
            point = self.executor.tick(self.now)
            elapsed, self.ticked = self.now - self.ticked, self.now
            self.paused = point is None
            if not self.paused:
                self.path.append(point.positions)
                # the executor never makes up for time that it lost, nor goes back
                self.own.append(self.own[-1] + (PERIOD if elapsed < 0 else min(elapsed, PERIOD)))
        return self

    def check(self):
        """Every command to the next keeps every limit: pauses begin and end at rest."""
        rest = np.arange(1, 4)[: 3 * self.paused] * PERIOD
        times = np.concatenate([self.own, self.own[-1] + rest])
        check_path(times, np.array(self.path + self.path[-1:] * len(rest)), self.limits)

    def send(self, chunk):
        """Whether the plan was taken."""
        try:
            self.executor.accept(chunk, self.now)
        except PlanError as error:
            assert str(error)
            return False
        return True

    def speed(self):
        """Of the arm (joints,), at most, between the last two commands."""
        return np.abs(self.path[-1] - self.path[-2])[:ARM] / PERIOD


def random_chunk(generator, line, sequence):
    rows = int(generator.integers(1, 30))
    noise = generator.normal(size=(rows, 8)) * generator.choice([0.003, 0.02, 0.1])
    values = line.path[-1] + np.cumsum(noise, axis=0) * generator.choice([0.1, 1.0])
    start = line.now - generator.uniform(0.0, 0.4)
    step = float(generator.choice([0.02, 0.033, 0.1]))
    return Chunk(start, step, Space.JOINT_POSITION, NAMES, values, sequence, line.executor.epoch)


def play(seed):
    """A history: plans that are late, lost, doubled or swapped, and a clock that steps."""
    generator = np.random.default_rng(seed)
    line, waiting = Line(random_robot(generator)), []
    for sequence in range(1, PLANS + 1):
        waiting.append(random_chunk(generator, line, sequence))
        fate = generator.choice(["due", "due", "due", "lost", "swapped", "doubled", "clock"])
        if fate == "clock":
            line.now += generator.uniform(-5.0, 5.0)
        elif fate == "lost":
            waiting.clear()
        elif fate == "doubled":
            waiting.append(waiting[-1])
        if fate != "swapped":
            for chunk in reversed(waiting):
                line.send(chunk)
            waiting.clear()
        line.run(generator.uniform(0.0, 0.6))
        if line.executor.status(line.now).needs_reset:
            line.executor.reset("go on")
            line.run(1.5)  # a new epoch begins where the arm came to rest
    return line


@settings(max_examples=200, deadline=None)
@given(SEEDS)
@example(474)  # a plan in motion, and the clock steps back before the next tick
@example(1310)  # the clock steps to just behind the last tick
@example(4060387)  # a reset in motion
def test_random_robots_keep_their_limits_whatever_comes_and_when(seed):
    line, again = play(seed), play(seed)
    np.testing.assert_array_equal(line.path, again.path)
    line.check()


@settings(max_examples=200, deadline=None)
@given(SEEDS)
def test_random_robots_rest_in_the_stated_time_and_wait(seed):
    generator = np.random.default_rng(seed)
    line = Line(random_robot(generator))
    for sequence in (1, 2, 3):
        line.send(random_chunk(generator, line, sequence))
        line.run(generator.uniform(0.05, 0.5))
    old = random_chunk(generator, line, 99)
    # the speed may still grow by what the acceleration adds until the brakes are on
    velocity, acceleration, jerk = (
        limit[:ARM] for limit in (line.speed(), line.limits.acceleration, line.limits.jerk)
    )
    velocity = velocity + acceleration * (2 * PERIOD + acceleration / jerk)
    line.executor.stop("stop")
    line.run((velocity / acceleration + 3 * acceleration / jerk).max() + 2 * PERIOD)
    held = line.path[-1]
    line.run(0.5)
    np.testing.assert_array_equal(line.path[-1][:ARM], held[:ARM])
    line.executor.reset("reset")
    line.run(1.0)
    count = len(line.path)
    assert line.executor.state is State.IDLE
    with pytest.raises(PlanError, match="the epoch is 1"):
        line.executor.accept(replace(old, start=line.now), line.now)
    assert not line.run(0.5).path[count:]
    line.check()


@settings(max_examples=200, deadline=None)
@given(SEEDS)
def test_random_robots_are_at_rest_after_the_last_plan_and_move_no_more(seed):
    generator = np.random.default_rng(seed)
    line = Line(random_robot(generator))
    if not line.send(random_chunk(generator, line, 1)):
        return
    line.run(line.executor.status(line.now).time_left + 2 * PERIOD)
    assert line.executor.state in (State.STARVED, State.HOLD)
    held = line.path[-1]
    line.run(1.0)
    np.testing.assert_array_equal(line.path[-1][:ARM], held[:ARM])
