# SPDX-License-Identifier: Apache-2.0
"""Our messages and our action between two processes."""

import math
import subprocess
import sys
import threading
from pathlib import Path

import peer
import pytest
import rclpy
from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor

from dm0_ros.action import ExecuteInstruction
from dm0_ros.msg import ActionChunk

# seconds; for discovery and a reply on a busy machine
DEADLINE = 60.0


@pytest.fixture
def node():
    """A node that spins in a thread of its own."""
    context = Context()
    rclpy.init(context=context)
    node = rclpy.create_node("here", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    spinning = threading.Thread(target=executor.spin)
    spinning.start()
    yield node
    executor.shutdown()
    spinning.join()
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.fixture
def start_peer():
    """Start peer.py in the given role; it ends when the test does."""
    processes = []

    def start(role):
        command = [sys.executable, str(Path(peer.__file__)), role]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, **pipes)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.communicate(timeout=DEADLINE)
        assert process.returncode == 0


def wait_for(future):
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    assert done.wait(DEADLINE), "no answer within the deadline"
    return future.result()


def connect(node):
    client = ActionClient(node, ExecuteInstruction, "execute_instruction")
    assert client.wait_for_server(DEADLINE), "the server did not appear"
    return client


def test_chunk_arrives_as_it_was_sent(node, start_peer):
    received, arrived = [], threading.Event()

    def keep(message):
        received.append(message)
        arrived.set()

    node.create_subscription(ActionChunk, "action_chunk", keep, peer.LATCHED)
    start_peer("publish")
    assert arrived.wait(DEADLINE), "no chunk arrived"
    (chunk,) = received
    for name in ("sequence", "epoch", "space", "names", "rows", "instruction", "policy"):
        assert getattr(chunk, name) == peer.EXAMPLE[name]
    assert chunk.values.tolist() == peer.EXAMPLE["values"]
    assert math.copysign(1.0, chunk.values[-1]) == -1.0
    assert chunk.latency_ms.tolist() == peer.EXAMPLE["latency_ms"]
    assert math.isnan(chunk.progress)
    assert chunk.header.frame_id == "base"
    assert (chunk.start.sec, chunk.start.nanosec) == (12, 999_999_999)
    assert (chunk.step.sec, chunk.step.nanosec) == (0, 20_000_000)


def test_action_gives_feedback_and_result(node, start_peer):
    start_peer("serve")
    client, feedback = connect(node), []
    goal = ExecuteInstruction.Goal(instruction="touch the red block")
    goal.time_limit.sec = 20
    handle = wait_for(client.send_goal_async(goal, feedback_callback=feedback.append))
    assert handle.accepted
    answer = wait_for(handle.get_result_async())
    assert answer.status == GoalStatus.STATUS_SUCCEEDED
    assert answer.result.outcome == ExecuteInstruction.Result.SUCCEEDED
    assert answer.result.message == "touch the red block"
    assert (answer.result.progress, answer.result.plans) == (1.0, 2)
    for message in feedback:
        assert (message.feedback.subtask, message.feedback.plans) == ("reaching", 1)
        assert (message.feedback.progress, message.feedback.elapsed.sec) == (0.5, 1)
    client.destroy()


def test_action_refuses_and_cancels(node, start_peer):
    start_peer("serve")
    client = connect(node)
    refused = wait_for(client.send_goal_async(ExecuteInstruction.Goal(instruction="")))
    assert not refused.accepted
    heard = threading.Event()
    handle = wait_for(
        client.send_goal_async(
            ExecuteInstruction.Goal(instruction="wait"),
            feedback_callback=lambda _: heard.set(),
        )
    )
    assert heard.wait(DEADLINE), "no feedback arrived"
    wait_for(handle.cancel_goal_async())
    answer = wait_for(handle.get_result_async())
    assert answer.status == GoalStatus.STATUS_CANCELED
    assert answer.result.outcome == ExecuteInstruction.Result.CANCELLED
    client.destroy()
