# SPDX-License-Identifier: Apache-2.0
"""The other process of the interface tests: `peer.py publish` or `peer.py serve`.

It first says where it took dm0_ros.msg from, and lives until it is interrupted.
"""

import contextlib
import sys
import time

import rclpy
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile

import dm0_ros.msg
from dm0_ros.action import ExecuteInstruction
from dm0_ros.msg import ActionChunk

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
EXAMPLE = {
    "sequence": 2**40,
    "epoch": 7,
    "space": ActionChunk.EEF_POSE,
    "names": ["fr3_joint1", "fr3_finger_joint1"],
    "rows": 3,
    "values": [0.1, -0.2, 1e-300, 3.0, float("inf"), -0.0],
    "progress": float("nan"),
    "instruction": "push the grüne block",
    "policy": "peer",
    "latency_ms": [1.0, 2.0, 0.0, 4.5],
}


def publish(node: Node) -> Publisher:
    chunk = ActionChunk(**EXAMPLE)
    chunk.header.frame_id = "base"
    chunk.start.sec, chunk.start.nanosec = 12, 999_999_999
    chunk.step.nanosec = 20_000_000
    publisher = node.create_publisher(ActionChunk, "action_chunk", LATCHED)
    publisher.publish(chunk)
    return publisher


def serve(node: Node) -> ActionServer:
    """Refuses an empty instruction, works on "wait" until cancelled, and is done with others."""

    def execute(goal):
        feedback = ExecuteInstruction.Feedback(progress=0.5, subtask="reaching", plans=1)
        feedback.elapsed.sec = 1
        goal.publish_feedback(feedback)
        result = ExecuteInstruction.Result(plans=2, progress=1.0, message=goal.request.instruction)
        if goal.request.instruction == "wait":
            while not goal.is_cancel_requested:
                time.sleep(0.01)
            result.outcome = result.CANCELLED
            goal.canceled()
        else:
            result.outcome = result.SUCCEEDED
            goal.succeed()
        return result

    def accept(goal):
        return GoalResponse.ACCEPT if goal.instruction else GoalResponse.REJECT

    return ActionServer(
        node,
        ExecuteInstruction,
        "execute_instruction",
        execute,
        goal_callback=accept,
        cancel_callback=lambda _: CancelResponse.ACCEPT,
        callback_group=ReentrantCallbackGroup(),
    )


def main() -> None:
    print(dm0_ros.msg.__file__, flush=True)
    rclpy.init()
    node = rclpy.create_node("peer")
    offered = {"publish": publish, "serve": serve}[sys.argv[1]](node)
    executor = MultiThreadedExecutor(num_threads=3)
    executor.add_node(node)
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        executor.spin()
    executor.shutdown()
    offered.destroy()
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
