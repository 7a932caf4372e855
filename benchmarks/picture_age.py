# SPDX-License-Identifier: Apache-2.0
"""How old the newest picture is when the policy node begins to plan from it, at full tilt.

A real policy node plans without a pause, while every camera of the robot sends 640x480 pictures at
30 Hz and its driver sends joint states. Each plan says when its picture was taken, when it was
published and how long it took; the age is what is left.
"""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import rclpy
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from support.record import make_parser, report, summarise

from dm0_ros.action import ExecuteInstruction
from dm0_ros.msg import ActionChunk
from dm0_ros.nodes.pictures import image_from_picture
from dm0_ros.nodes.quality import COMMAND, SENSOR
from dm0_ros.nodes.stamps import read_clock, to_duration, to_seconds, to_time
from dm0_ros.robots import load_robot

ROBOT = load_robot("franka")
CAMERA_RATE, SIZE = 30.0, (480, 640)
WARM_UP = 2.0  # s of plans that are not counted
INSTRUCTION = "touch the red block"
# An untried policy must neither rest nor be done while it is measured.
SETTINGS = ("autostart:=true", "period:=0.001", "rest_distance:=0.0", "progress_threshold:=1.0")


class Robot:
    """Sends pictures and joint states of a Franka at home, in a thread, until it is closed."""

    def __init__(self, node: Node, joint_rate: float) -> None:
        self._node, self._rate = node, joint_rate
        random = np.random.default_rng(0)
        self._pictures = [
            (
                node.create_publisher(type(image), f"camera/{slot}/image_raw", SENSOR),
                image,
            )
            for slot in ROBOT.camera_slots
            for image in [image_from_picture(random.integers(0, 255, (*SIZE, 3), np.uint8))]
        ]
        self._joints = node.create_publisher(JointState, "joint_states", SENSOR)
        positions = dict(ROBOT.home)
        for gripper in ROBOT.grippers:
            positions[gripper.name] /= gripper.opening_per_joint
        self._state = JointState(name=list(positions), position=list(positions.values()))
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        begun, ticks, pictures = time.monotonic(), 0, 0
        while not self._closing.is_set():
            ticks += 1
            time.sleep(max(0.0, begun + ticks / self._rate - time.monotonic()))
            self._state.header.stamp = self._stamp()
            self._joints.publish(self._state)
            if (time.monotonic() - begun) * CAMERA_RATE >= pictures:
                pictures += 1
                for publisher, image in self._pictures:
                    image.header.stamp = self._stamp()
                    publisher.publish(image)

    def _stamp(self):
        return to_time(read_clock(self._node.get_clock()))

    def close(self) -> None:
        """Send no more."""
        self._closing.set()
        self._thread.join()


def processor_time(pid: int) -> float:
    """Seconds of processor time that a process has had."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(node: Node, pid: int, seconds: float) -> dict:
    """Give the instruction and judge the plans that come of it."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    plans: list[ActionChunk] = []
    node.create_subscription(ActionChunk, "action_chunk", plans.append, COMMAND)
    client = ActionClient(node, ExecuteInstruction, "execute_instruction")
    client.wait_for_server()
    time.sleep(WARM_UP)  # until all have found each other
    goal = ExecuteInstruction.Goal(instruction=INSTRUCTION)
    goal.time_limit = to_duration(WARM_UP + seconds)
    sent = client.send_goal_async(goal)
    executor.spin_until_future_complete(sent)
    result = sent.result().get_result_async()
    executor.spin_until_future_complete(result, WARM_UP)
    plans.clear()
    spent, begun = processor_time(pid), time.monotonic()
    executor.spin_until_future_complete(result)
    spent, passed = processor_time(pid) - spent, time.monotonic() - begun
    latencies = [sum(plan.latency_ms) for plan in plans[:-1]]  # the last one only stays
    ages = [
        1e3 * (to_seconds(plan.header.stamp) - to_seconds(plan.start)) - latency
        for plan, latency in zip(plans, latencies, strict=False)
    ]
    return {
        "outcome": result.result().result.message,
        "plans_per_second": round(len(ages) / passed, 2),
        "processor_percent": round(100 * spent / passed, 1),
        "latency_ms": summarise(latencies, 1),
        "picture_age_ms": summarise(ages, 1),
    }


def main() -> None:
    """Measure with a policy node of our own, in a domain of our own."""
    parser = make_parser(__doc__)
    parser.add_argument("--checkpoint", default="dm0-nano")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--joint-rate", type=float, default=500.0, help="joint states a second")
    options = parser.parse_args()
    os.environ |= {"ROS_DOMAIN_ID": "96", "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    given = [f"checkpoint:={options.checkpoint}", "robot:=franka", *SETTINGS]
    words = [word for value in given for word in ("-p", value)]
    command = [sys.executable, "-m", "dm0_ros.nodes.policy", "--ros-args", *words]
    policy = subprocess.Popen(command)
    rclpy.init()
    node = rclpy.create_node("robot")
    robot = Robot(node, options.joint_rate)
    try:
        figures = measure(node, policy.pid, options.seconds)
    finally:
        robot.close()
        policy.terminate()
        policy.wait(timeout=30)
        rclpy.shutdown()
    report("picture_age", {"joint_rate_hz": options.joint_rate, **figures}, options.write)


if __name__ == "__main__":
    main()
