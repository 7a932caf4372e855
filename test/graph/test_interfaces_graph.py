# SPDX-License-Identifier: Apache-2.0
"""Our messages and our action between two processes."""

import math
import sys

import peer
from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient

from dm0_ros.action import ExecuteInstruction
from dm0_ros.msg import ActionChunk


def start_peer(graph, role):
    return graph.run(sys.executable, peer.__file__, role)


def connect(graph):
    client = ActionClient(graph.node, ExecuteInstruction, "execute_instruction")
    graph.wait(client.server_is_ready, "the action server")
    return client


def wait_for(graph, future):
    graph.wait(future.done, "an answer of the action server")
    return future.result()


def test_chunk_arrives_as_it_was_sent(graph):
    chunks = graph.collect(ActionChunk, "action_chunk", peer.LATCHED)
    start_peer(graph, "publish")
    graph.wait(lambda: chunks, "a chunk")
    (chunk,) = chunks
    for name in ("sequence", "epoch", "space", "names", "rows", "instruction", "policy"):
        assert getattr(chunk, name) == peer.EXAMPLE[name]
    assert chunk.values.tolist() == peer.EXAMPLE["values"]
    assert math.copysign(1.0, chunk.values[-1]) == -1.0
    assert chunk.latency_ms.tolist() == peer.EXAMPLE["latency_ms"]
    assert math.isnan(chunk.progress)
    assert chunk.header.frame_id == "base"
    assert (chunk.start.sec, chunk.start.nanosec) == (12, 999_999_999)
    assert (chunk.step.sec, chunk.step.nanosec) == (0, 20_000_000)


def test_action_gives_feedback_and_result(graph):
    start_peer(graph, "serve")
    client, feedback = connect(graph), []
    goal = ExecuteInstruction.Goal(instruction="touch the red block")
    goal.time_limit.sec = 20
    handle = wait_for(graph, client.send_goal_async(goal, feedback_callback=feedback.append))
    assert handle.accepted
    answer = wait_for(graph, handle.get_result_async())
    assert answer.status == GoalStatus.STATUS_SUCCEEDED
    assert answer.result.outcome == ExecuteInstruction.Result.SUCCEEDED
    assert answer.result.message == "touch the red block"
    assert (answer.result.progress, answer.result.plans) == (1.0, 2)
    for message in feedback:
        assert (message.feedback.subtask, message.feedback.plans) == ("reaching", 1)
        assert (message.feedback.progress, message.feedback.elapsed.sec) == (0.5, 1)
    client.destroy()


def test_action_refuses_and_cancels(graph):
    start_peer(graph, "serve")
    client = connect(graph)
    goal = ExecuteInstruction.Goal(instruction="")
    assert not wait_for(graph, client.send_goal_async(goal)).accepted
    feedback = []
    goal = ExecuteInstruction.Goal(instruction="wait")
    handle = wait_for(graph, client.send_goal_async(goal, feedback_callback=feedback.append))
    graph.wait(lambda: feedback, "feedback")
    wait_for(graph, handle.cancel_goal_async())
    answer = wait_for(graph, handle.get_result_async())
    assert answer.status == GoalStatus.STATUS_CANCELED
    assert answer.result.outcome == ExecuteInstruction.Result.CANCELLED
    client.destroy()
