# SPDX-License-Identifier: Apache-2.0
"""How evenly the executor commands: time between commands as a controller's process gets them.

The node runs in a process of its own and follows a plan that is renewed twice a second; this
process is the robot, which reports what it was last told.
"""

import signal
import subprocess
import sys
import time

import numpy as np
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from support.record import make_parser, report, summarise

from dm0_ros.msg import ActionChunk, ExecutorStatus
from dm0_ros.nodes.quality import COMMAND, SENSOR, STATUS
from dm0_ros.nodes.stamps import read_clock, to_duration, to_time
from dm0_ros.robots.loading import load_robot

STEP, ROWS, SWING = 0.1, 50, 0.2  # s, rows, rad
RENEWAL, REPORT = 0.5, 0.01  # s between plans, and between joint states


class Robot(Node):
    """A robot that is where it was told to be, and a policy that swings one joint."""

    def __init__(self, spec) -> None:
        super().__init__("robot")
        self.spec = spec
        self.arrivals: list[int] = []
        self.status = ExecutorStatus()
        self._positions = dict(spec.home)
        self._sequence = 0
        self._states = self.create_publisher(JointState, "joint_states", SENSOR)
        self._plans = self.create_publisher(ActionChunk, "action_chunk", COMMAND)
        sink = spec.sinks[0]
        self._names = sink.names
        self.create_subscription(Float64MultiArray, sink.topic, self._obey, COMMAND)
        self.create_subscription(ExecutorStatus, "executor_status", self._note, STATUS)
        self.create_timer(REPORT, self._report)
        self.create_timer(RENEWAL, self._plan)

    def _obey(self, message: Float64MultiArray, info: dict) -> None:
        self.arrivals.append(info["received_timestamp"])
        self._positions.update(zip(self._names, message.data, strict=True))

    def _note(self, message: ExecutorStatus) -> None:
        self.status = message

    def _report(self) -> None:
        gaps = {g.name: 1 / g.opening_per_joint for g in self.spec.grippers}
        names = self.spec.column_names
        positions = [self._positions[name] * gaps.get(name, 1.0) for name in names]
        message = JointState(name=list(names), position=positions)
        message.header.stamp = self.get_clock().now().to_msg()
        self._states.publish(message)

    def _plan(self) -> None:
        now = read_clock(self.get_clock())
        names = self.spec.column_names
        values = np.tile([self.spec.home[name] for name in names], (ROWS, 1))
        values[:, 0] += SWING * np.sin(now + STEP * np.arange(ROWS))
        self._sequence += 1
        message = ActionChunk(
            sequence=self._sequence,
            epoch=self.status.epoch,
            space=ActionChunk.JOINT_POSITION,
            names=list(names),
            rows=ROWS,
            values=values.ravel().tolist(),
            progress=float("nan"),
        )
        message.start, message.step = to_time(now), to_duration(STEP)
        self._plans.publish(message)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--robot", default="franka")
    parser.add_argument("--rate", type=float, default=0.0, help="Hz; 0: the robot's own")
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    spec = load_robot(options.robot)
    parameters = [f"robot:={options.robot}", "autostart:=true"]
    if options.rate:
        parameters.append(f"rate:={options.rate}")
    given = [word for parameter in parameters for word in ("-p", parameter)]
    command = [sys.executable, "-m", "dm0_ros.nodes.executor", "--ros-args", *given]
    executor = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    rclpy.init()
    robot = Robot(spec)
    try:
        spin(robot, lambda: robot.status.state == ExecutorStatus.EXECUTING, 30.0)
        if robot.status.state != ExecutorStatus.EXECUTING:
            sys.exit(f"the executor follows no plan: {robot.status.reason or 'no status came'}")
        robot.arrivals.clear()
        spin(robot, lambda: False, options.seconds)
        periods = np.diff(robot.arrivals) / 1e6
        rate = options.rate or spec.executor.rate
        figures = {
            "rate_hz": rate,
            "received_hz": round(1e3 / float(periods.mean()), 2),
            "period_ms": summarise(periods),
            "period_error_ms": summarise(np.abs(periods - 1e3 / rate)),
            "own_period_p99_ms": round(1e3 * robot.status.period_p99, 3),
        }
        report("executor_jitter", figures, options.write)
    finally:
        executor.send_signal(signal.SIGINT)
        executor.wait(timeout=20)
        robot.destroy_node()
        rclpy.shutdown()


def spin(node: Node, condition, seconds: float) -> None:
    """Serve the node until the condition holds or time is over."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.1)


if __name__ == "__main__":
    main()
