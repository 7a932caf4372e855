# SPDX-License-Identifier: Apache-2.0
"""A policy in a process of its own: `planner.py <column> <plans a second>`.

It swings one column of a Franka about home, from the moment it sees an executor on.
"""

import sys

import numpy as np
import rclpy

from dm0_ros.msg import ActionChunk, ExecutorStatus
from dm0_ros.nodes.quality import COMMAND, STATUS
from dm0_ros.nodes.stamps import read_clock, to_duration, to_time
from dm0_ros.robots import load_robot

STEP, ROWS, SWING, SPEED = 0.1, 10, 0.2, 1.5  # s, rows, rad, rad/s


def main() -> None:
    column, rate = int(sys.argv[1]), float(sys.argv[2])
    robot = load_robot("franka")
    home = np.array([robot.home[name] for name in robot.column_names])
    rclpy.init()
    node = rclpy.create_node(f"planner_{column}")
    plans = node.create_publisher(ActionChunk, "action_chunk", COMMAND)
    status = ExecutorStatus()
    count = 0

    def note(message: ExecutorStatus) -> None:
        nonlocal status
        status = message

    def plan() -> None:
        nonlocal count
        if not status.reason:
            return
        count = max(count, status.sequence) + 1
        now = read_clock(node.get_clock())
        phase = SPEED * (now % 1000 + STEP * np.arange(ROWS))
        values = home + SWING * np.sin(phase)[:, None] * np.eye(len(home))[column]
        message = ActionChunk(
            sequence=count,
            epoch=status.epoch,
            names=list(robot.column_names),
            rows=ROWS,
            values=values.ravel().tolist(),
            latency_ms=[1.0, 20.0, 0.0, 30.0],
        )
        message.header.stamp = message.start = to_time(now)
        message.step = to_duration(STEP)
        plans.publish(message)

    node.create_subscription(ExecutorStatus, "executor_status", note, STATUS)
    node.create_timer(1 / rate, plan)
    rclpy.spin(node)


if __name__ == "__main__":
    main()
