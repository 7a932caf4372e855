# SPDX-License-Identifier: Apache-2.0
"""Bags of a Franka whose every number follows from the time, to make datasets of."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from replay_bags import (
    BEGIN,
    make,
    make_chunk,
    make_header,
    make_image,
    make_joint_state,
    make_positions,
    write,
)

from dm0_ros.policy.marks import Mark
from dm0_ros.replay.bag import BagWriter
from dm0_ros.robots import load_robot

ROBOT = load_robot("franka")
NAMES = ROBOT.column_names
SLOTS = ROBOT.camera_slots
PACE = 0.01 * (1 + np.arange(len(NAMES)))  # rad/s or m/s
LEAD = 0.05  # of commands before what is measured
SIZE = 16  # pixels
CAMERA_PERIOD = 0.1


def measured(seconds):
    """Positions (..., C), with the gripper's opening, so long after BEGIN."""
    return 0.01 + np.multiply.outer(np.asarray(seconds), PACE)


def shade(number, slot=SLOTS[0]):
    """The grey of a camera's picture of that number."""
    return (16 + 7 * SLOTS.index(slot) + 3 * number) % 240


@dataclass
class Script:
    """What happens, in s after BEGIN, and what goes wrong."""

    episodes: tuple = ((1.0, 3.0, "touch the red block"),)  # begin, end, instruction
    outcome: str = "succeeded"
    marked: bool = True
    end: float = 4.0
    joint_period: float = 0.02
    delay: object = lambda topic, seconds: 0.003  # from a stamp to its reception
    lose: object = lambda topic, seconds: False
    stamp: object = lambda topic, seconds: seconds
    position: object = measured
    command: object = lambda seconds: measured(seconds) + LEAD
    clock: float | None = None  # s that /clock is behind; None: there is none
    touched: dict = field(default_factory=dict)  # when: name
    size: object = lambda slot, number: SIZE
    extra: object = lambda tape: None  # what else is in the bag
    compressed: bool = False  # pictures as JPEG


class Tape:
    """Messages by when they are received, which is the order of the bag."""

    def __init__(self, script):
        self.script, self.messages = script, []

    def add(self, topic, seconds, make_message):
        """A message about ``seconds``, whose stamp says so."""
        script = self.script
        if script.lose(topic, seconds):
            return
        late = script.clock or 0.0
        message = make_message(BEGIN - late + script.stamp(topic, seconds))
        self.messages.append((seconds + script.delay(topic, seconds), f"/{topic}", message))

    def save(self, path):
        writer = BagWriter(path)
        for seconds, topic, message in sorted(self.messages, key=lambda entry: entry[0]):
            write(writer, topic, BEGIN + seconds, message)
        writer.close()
        return path


def write_bag(path, script=None, **changes):
    """A bag at ``path``."""
    script = script or Script(**changes)
    tape = Tape(script)
    gaps = np.array(
        [{g.name: g.opening_per_joint for g in ROBOT.grippers}.get(n, 1.0) for n in NAMES]
    )
    for seconds in np.arange(0.0, script.end, script.joint_period):
        values = script.position(seconds) / gaps
        # backwards: positions go by name
        tape.add(
            "joint_states", seconds, lambda t, v=values: make_joint_state(t, NAMES[::-1], v[::-1])
        )
        if script.clock is not None:
            tape.add(
                "clock",
                seconds,
                lambda t: make("rosgraph_msgs/msg/Clock", clock=make_header(t).stamp),
            )
    for begin, end, _ in script.episodes:
        for seconds in np.arange(begin + 0.1, end + 0.001, 0.02):
            add_commands(tape, seconds)
    for slot in SLOTS:
        for number, seconds in enumerate(np.arange(0.0, script.end, CAMERA_PERIOD)):
            size = script.size(slot, number)
            picture = np.full((size, size, 3), shade(number, slot), np.uint8)
            add_picture(tape, slot, seconds, picture)
    if script.marked:
        for number, (begin, end, instruction) in enumerate(script.episodes):
            add_marks(tape, f"e{number}", begin, end, instruction, script.outcome)
    for seconds, name in script.touched.items():
        tape.add("simulator/outcome", seconds, lambda t, n=name: make_outcome(t, n))
    script.extra(tape)
    return tape.save(path)


def add_picture(tape, slot, seconds, picture):
    if tape.script.compressed:
        data = make_jpeg(picture)
        kind = "sensor_msgs/msg/CompressedImage"
        tape.add(
            f"camera/{slot}/compressed",
            seconds,
            lambda t: make(kind, header=make_header(t), format="jpeg", data=data),
        )
    else:
        tape.add(f"camera/{slot}/image_raw", seconds, lambda t: make_image(t, picture))


def make_jpeg(picture):
    return cv2.imencode(".jpg", picture)[1].reshape(-1)


def add_commands(tape, seconds):
    for sink in ROBOT.sinks:
        order = [NAMES.index(name) for name in sink.names]
        values = tape.script.command(seconds)[order]
        # a command has no stamp: it counts when it comes
        tape.add(
            sink.topic,
            seconds - tape.script.delay(sink.topic, seconds),
            lambda _t, v=values: make_positions(v),
        )


def add_marks(tape, name, begin, end, instruction, outcome, source="execute_instruction"):
    late = tape.script.clock or 0.0
    mark = Mark(name, source, instruction, BEGIN - late + begin)
    text = lambda m: lambda _t: make("std_msgs/msg/String", data=m.dump())  # noqa: E731
    tape.add("episode", begin, text(mark))
    if end is not None:
        ended = Mark(name, source, instruction, mark.begin, BEGIN - late + end, outcome)
        tape.add("episode", end, text(ended))


def make_outcome(stamp, name):
    names = [name] if name else []
    return make(
        "dm0_ros/msg/SimulatorOutcome",
        header=make_header(stamp),
        episode=1,
        names=names,
        seconds=np.zeros(len(names), np.float32),
    )


def add_plan(tape, seconds, instruction):
    tape.add("action_chunk", seconds, lambda t: make_chunk(t, (0, 0, 0, 0), instruction))
