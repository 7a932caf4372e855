# SPDX-License-Identifier: Apache-2.0
"""A Franka and its policy, as the executor sees them, and what its commands must never do."""

import time

import numpy as np
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from dm0_ros.control import Limits
from dm0_ros.msg import ActionChunk, ExecutorStatus
from dm0_ros.nodes.quality import COMMAND, SENSOR, STATUS
from dm0_ros.nodes.stamps import to_duration, to_time
from dm0_ros.resources import find_resource
from dm0_ros.robots import load_robot

ROBOT = load_robot("franka")
NAMES = ROBOT.column_names
ARM, GRIPPER = ROBOT.sinks
LIMITS = Limits.from_robot(ROBOT)
HOME = np.array([ROBOT.home[name] for name in NAMES])
OPENING = ROBOT.grippers[0].opening_per_joint
PERIOD = 1 / ROBOT.executor.rate
# Judging continuity takes every command, also after this process was kept waiting.
EVERY_COMMAND = QoSProfile(depth=2000, reliability=ReliabilityPolicy.RELIABLE)


class Cell:
    """A robot that is where it was told to be, and a policy that sends what a test says."""

    def __init__(self, graph, *parameters, names=NAMES, robot="franka"):
        self.graph = graph
        self.names = list(names)
        self.joints = HOME.copy()
        self.sequence = 0
        self.follow = True
        self.commands = []  # (time of arrival, positions of the arm)
        node = graph.node
        self.process = graph.start("executor", f"robot:={robot}", "autostart:=true", *parameters)
        self.status = graph.collect(ExecutorStatus, "executor_status", STATUS)
        self.reports = graph.collect(DiagnosticArray, "/diagnostics", 10)
        self.openings = graph.collect(Float64MultiArray, GRIPPER.topic, COMMAND)
        node.create_subscription(Float64MultiArray, ARM.topic, self._obey, EVERY_COMMAND)
        self.states = node.create_publisher(JointState, "joint_states", SENSOR)
        self.timer = node.create_timer(0.02, self.tell_joints)
        self.plans = graph.publisher(ActionChunk, "action_chunk", COMMAND)
        ready = "no plan yet" if set(names) == set(NAMES) else "no plan yet; joint_states lacks"
        graph.wait(
            lambda: self.status and self.status[-1].reason.split(" fr3")[0] == ready,
            "joint states to arrive",
        )
        assert self.status[-1].state == ExecutorStatus.IDLE

    def _obey(self, message):
        self.commands.append((time.monotonic(), np.array(message.data)))
        if self.follow:
            self.joints[:7] = message.data

    @property
    def path(self):
        return np.array([positions for _, positions in self.commands])

    def tell_joints(self, **changes):
        reported = self.joints / np.where(np.array(NAMES) == NAMES[7], OPENING, 1.0)
        values = dict(zip(NAMES, reported, strict=True)) | changes
        message = JointState(name=self.names)
        message.position = [float(values[name]) for name in self.names]
        message.header.stamp = to_time(self.now())
        self.states.publish(message)

    def now(self):
        return self.graph.node.get_clock().now().nanoseconds / 1e9

    def plan(self, values, names=NAMES, step=0.1, delay=0.0, **changes):
        self.sequence += 1
        values = np.asarray(values, dtype=float)
        fields = {
            "start": to_time(self.now() + delay),
            "step": to_duration(step),
            "sequence": self.sequence,
            "epoch": self.status[-1].epoch,
            "names": list(names),
            "rows": len(values),
            "values": values.ravel().tolist(),
        }
        self.plans.publish(ActionChunk(**(fields | changes)))

    def wait_state(self, state, what=""):
        self.graph.wait(
            lambda: self.status and self.status[-1].state == state, what or f"state {state}"
        )

    def wait_dropped(self, words, count=1):
        self.graph.wait(lambda: self.status[-1].dropped >= count, "a plan to be dropped")
        assert words in self.status[-1].reason

    def wait_commands(self, count):
        wanted = len(self.commands) + count
        self.graph.wait(lambda: len(self.commands) >= wanted, f"{wanted} commands")

    def wait_report(self, level, words):
        """Wait for a diagnosis of that level that says so; returns its values."""

        def find():
            found = [one.status[0] for one in self.reports if one.status[0].level == level]
            return [status for status in found if words in status.message]

        found = self.graph.wait(find, f"a report that says '{words}'")
        return {pair.key: pair.value for pair in found[-1].values}

    def call(self, name):
        return self.graph.call(Trigger, f"executor/{name}")


def move(distance=0.3, rows=20, column=0):
    ramp = (1 - np.cos(np.linspace(0, np.pi, rows))) / 2
    return HOME + distance * ramp[:, None] * np.eye(8)[column]


def check_path(path, limits=LIMITS):
    """Finite, in range, and every step within the limits of one period, even where ticks were
    missed: differences of what was received, over the executor's own time.

    At this rate an FR3 reaches its full acceleration within a tick, so that its jerk cannot be
    told; see `write_gentle_robot`.
    """
    assert np.isfinite(path).all()
    assert (path >= limits.lower[:7] - 1e-6).all() and (path <= limits.upper[:7] + 1e-6).all()
    derivative = path
    # Own time follows the clock of the robot by 20 us a tick, which differences of it multiply.
    shares = {"velocity": 1.01, "acceleration": 1.1, "jerk": 1.5}
    for name, share in shares.items():
        derivative = np.diff(derivative, axis=0) / PERIOD
        most = np.abs(derivative).max(0, initial=0.0) / getattr(limits, name)[:7]
        assert (most <= share).all(), (name, most)


def write_robot(folder, **changes):
    """The path of a Franka's YAML with other values at its top level."""
    content = yaml.safe_load(find_resource("config", "franka.yaml").read_text())
    path = folder / "robot.yaml"
    path.write_text(yaml.safe_dump(content | changes))
    return path


def write_gentle_robot(folder):
    """A Franka that takes ten ticks to its full acceleration: the path of its YAML, its limits."""
    joints = [
        {name: getattr(joint, name) for name in ("name", "lower", "upper", "velocity")}
        | {"acceleration": joint.acceleration, "jerk": joint.acceleration / (10 * PERIOD)}
        for joint in ROBOT.joints
    ]
    path = write_robot(folder, joints=joints)
    return path, Limits.from_robot(load_robot(path))


def make_sink(kind, topic, names, **more):
    """A sink as it stands in the YAML."""
    return {"kind": kind, "topic": topic, "names": list(names), **more}


ARM_SINK = make_sink("forward_position", ARM.topic, ARM.names)
GRIPPER_SINK = make_sink("forward_position", GRIPPER.topic, GRIPPER.names)
