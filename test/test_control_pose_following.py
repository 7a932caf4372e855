# SPDX-License-Identifier: Apache-2.0
"""Plans of poses through the whole executor: what is commanded, tick for tick, is on the path."""

import dataclasses

import numpy as np
import pytest
from pose_samples import (
    ARMS,
    DEGREE,
    MILLIMETRE,
    ROBOTS,
    SOLVERS,
    errors,
    home,
    loop,
    path_of,
    robots,
)

from dm0_ros.control import Blend, Executor, State

BEGIN = 100.0  # s


class Rig:
    """An executor with a robot behind it that is where it was told to be."""

    def __init__(self, robot):
        self.spec = ROBOTS[robot]
        self.executor = Executor(self.spec, Blend(self.spec.executor.blend_time))
        self.now, self.joints = BEGIN, home(robot)
        self.times, self.commands = [], []

    def plan(self, chunk, sequence):
        chunk = dataclasses.replace(chunk, sequence=sequence, epoch=self.executor.epoch)
        present, passed = self.executor.outlook(chunk, self.now)
        np.testing.assert_array_equal(present, self.joints)
        solution = SOLVERS[self.spec.name].solve(chunk, present, passed)
        self.executor.accept(solution.chunk, self.now)

    def tick(self):
        names = self.spec.column_names
        self.executor.measure(dict(zip(names, self.joints, strict=True)), self.now, self.now)
        point = self.executor.tick(self.now)
        if point is not None:
            self.joints = point.positions.copy()
            self.times.append(self.now - BEGIN)
            self.commands.append(self.joints)
        self.now += 1 / self.spec.executor.rate


@robots
def test_one_plan_of_200_rows(robot):
    whole = loop(robot)
    rig = Rig(robot)
    rig.tick()
    rig.plan(dataclasses.replace(whole, start=rig.now), 1)
    # row 0 is where the arm rested at the tick before; the next one is on its way already
    begin = rig.now - 1 / rig.spec.executor.rate - BEGIN
    while rig.now < BEGIN + 200 / 30 + 0.5:
        rig.tick()
    times = np.array(rig.times) - begin
    joints = np.array(rig.commands)[:, : len(ARMS[robot].names)]
    path = path_of(robot, whole)
    distances, angles = errors(robot, path, np.clip(times, 0, path.end), joints)
    assert len(times) > 6 * rig.spec.executor.rate
    assert distances.max() < MILLIMETRE
    assert angles.max() < 0.2 * DEGREE
    assert rig.executor.state is State.HOLD


@robots
@pytest.mark.parametrize("delay", [0.0, 0.2])
def test_a_plan_of_50_rows_every_25_rows(robot, delay):
    """Each begins where the arm was ``delay`` seconds ago, as an inference would have it."""
    whole = loop(robot, rows=250)
    rig = Rig(robot)
    rig.tick()
    begin = rig.now
    for first in range(0, 225, 25):
        due = begin + first / 30
        while rig.now < due + (delay if first else 0.0):
            rig.tick()
        rows = whole.values[first : first + 50]
        rig.plan(dataclasses.replace(whole, start=due, values=rows), first + 1)
    while rig.now < begin + 8:
        rig.tick()
    times = np.array(rig.times) - (begin - BEGIN)
    inside = (times >= 0) & (times < 7.0)
    joints = np.array(rig.commands)[inside, : len(ARMS[robot].names)]
    distances, angles = errors(robot, path_of(robot, whole), times[inside], joints)
    assert distances.max() < MILLIMETRE
    assert angles.max() < 0.2 * DEGREE
    limits = np.array([joint.acceleration for joint in rig.spec.joints])
    bends = np.diff(joints, n=2, axis=0) * rig.spec.executor.rate**2
    assert np.all(np.abs(bends) <= limits * (1 + 1e-6))
