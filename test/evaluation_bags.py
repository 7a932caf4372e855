# SPDX-License-Identifier: Apache-2.0
"""Bags of somebody who moves a Franka by hand along known curves, for evaluations."""

import math

import numpy as np
from replay_bags import (
    BEGIN,
    make,
    make_header,
    make_image,
    make_joint_state,
    make_positions,
    write,
)

from dm0_ros.evaluation.evaluate import CHECKPOINT, Setting, evaluate_bag
from dm0_ros.evaluation.result import read_result
from dm0_ros.policy.marks import MARKS_TOPIC, TELEOPERATION, Mark
from dm0_ros.policy.protocol import Latency, Plan, PolicySpec
from dm0_ros.replay.bag import BagWriter
from dm0_ros.replay.run import Wishes
from dm0_ros.robots.loading import load_robot
from dm0_ros.robots.spec import Space

ROBOT = load_robot("franka")
HAND = ROBOT.gripper_names[0]
SLOTS = ("right_hand", "left_hand")
_HOME = np.array([ROBOT.home[name] for name in ROBOT.column_names])
SPEEDS = np.array([0.05, -0.04, 0.03, 0.06, -0.02, 0.04, 0.1, 0.0])


def command_at(times):
    """(N, 8) what is commanded at s after `BEGIN`: steady motion, and a gripper that closes."""
    times = np.asarray(times, float)[:, None]
    rows = _HOME + times * SPEEDS
    rows[:, -1] = np.where(times[:, 0] < 2.0, 0.08, 0.0)
    return rows


def write_teleoperation(
    path, seconds=4.0, marks=(), commanded=True, lag=0.0, names=None, clock=None, short=False
):
    """Joint states and commands at 100 Hz, pictures at 20 Hz; ``lag`` rad of joints behind.

    ``clock``: what simulated time is at the beginning, s; stamps are of it. ``short``: commands
    lack a joint.
    """
    zero = BEGIN if clock is None else clock
    writer, random = BagWriter(path), np.random.default_rng(0)
    for begin, end, outcome in marks:
        episode = f"episode {begin:g}"
        mark = Mark(episode, TELEOPERATION, "by hand", zero + begin)
        write(writer, f"/{MARKS_TOPIC}", BEGIN, make("std_msgs/msg/String", data=mark.dump()))
        ended = Mark(episode, TELEOPERATION, "by hand", zero + begin, zero + end, outcome)
        write(writer, f"/{MARKS_TOPIC}", BEGIN, make("std_msgs/msg/String", data=ended.dump()))
    for tick in range(round(seconds * 100)):
        time = tick / 100
        if clock is not None:
            ticked = make("rosgraph_msgs/msg/Clock", clock=make_header(zero + time).stamp)
            write(writer, "/clock", BEGIN + time, ticked)
        values = command_at([time])[0]
        stroke = {g.name: g.opening_per_joint for g in ROBOT.grippers}
        measured = [
            (v - lag * (n in ROBOT.joint_names)) / stroke.get(n, 1.0)
            for n, v in zip(ROBOT.column_names, values, strict=True)
        ]
        state = make_joint_state(zero + time, names or ROBOT.column_names, measured)
        write(writer, "/joint_states", BEGIN + time, state)
        for sink in ROBOT.sinks if commanded else ():
            columns = [ROBOT.column_names.index(name) for name in sink.names][short:]
            write(writer, f"/{sink.topic}", BEGIN + time, make_positions(values[columns]))
        if tick % 5 == 0:
            for slot in SLOTS:
                picture = random.integers(0, 255, (24, 32, 3), np.uint8)
                image = make_image(zero + time, picture)
                write(writer, f"/camera/{slot}/image_raw", BEGIN + time, image)
    writer.close()


class Scripted:
    """A policy that knows what will be commanded, and plans it ``late`` s later, for 3 s."""

    def __init__(self, late):
        self._late = late
        columns = ROBOT.layout("joint").columns
        self.spec = PolicySpec("scripted", SLOTS, columns, columns, Space.JOINT_POSITION, 30, 0.1)

    def infer(self, observation, prefix=None):
        begin = observation.stamp
        rows = command_at(begin - BEGIN - self._late + np.arange(30) * 0.1)
        space, names = self.spec.space, self.spec.action_names
        return Plan(begin, 0.1, space, names, rows, math.nan, Latency(1.0, 1.0, 0.0, 1.0))

    def warm_up(self):
        return Latency(0.0, 0.0, 0.0, 0.0)

    def reset(self):
        pass

    def skip(self):
        pass

    def close(self):
        pass


def by_hand(checkpoint, **wishes):
    """Wishes for such a bag."""
    chosen = {"robot": "franka", "checkpoint": str(checkpoint), "period": 0.3}
    return Wishes(**chosen | {"instruction": "touch it"} | wishes)


def evaluate(bag, folder, wishes=None, key=CHECKPOINT):
    """The result of a bag."""
    evaluate_bag(bag, Setting(key, wishes or Wishes()), folder)
    return read_result(folder)
