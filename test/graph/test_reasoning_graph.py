# SPDX-License-Identifier: Apache-2.0
"""The policy node with the tiny network of reasoning_samples, which says what it does."""

import math

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from instructing import Client
from reasoning_samples import TEXTS
from sensors import Sensors

from dm0_ros.action import ExecuteInstruction
from dm0_ros.msg import ActionChunk, SpatialScaffold
from dm0_ros.nodes.messages import message_from_thought
from dm0_ros.nodes.quality import COMMAND
from dm0_ros.nodes.stamps import to_seconds
from dm0_ros.policy.reasoning import Thought
from dm0_ros.robots.loading import load_robot
from dm0_ros.scaffold.content import Scaffold
from dm0_ros.scaffold.sketch import Sketch

SPEC = load_robot("franka")
GOOD = "touch the red block"
PREFIX, REASONING = 1, 2  # places in latency_ms


@pytest.fixture
def client(graph):
    return Client(graph)


@pytest.fixture
def listening(graph):
    """What the policy publishes: plans, scaffolds and diagnostics."""
    Sensors(graph, SPEC)
    chunks = graph.collect(ActionChunk, "action_chunk", COMMAND)
    scaffolds = graph.collect(SpatialScaffold, "scaffold", COMMAND)
    return chunks, scaffolds, graph.collect(DiagnosticArray, "/diagnostics", 10)


def start(graph, checkpoint, *parameters):
    given = (f"checkpoint:={checkpoint}", "threads:=1", "rest_distance:=0.0", "period:=0.05")
    return graph.start("policy", "autostart:=true", *given, *parameters)


def end(graph, client, handle):
    graph.wait(handle.cancel_goal_async().done, "an answer to the cancel")
    return client.result(handle)[1]


def check_scaffold(scaffold):
    assert scaffold.valid and not scaffold.error and scaffold.text == TEXTS[GOOD]
    assert (scaffold.view, scaffold.width, scaffold.height) == ("right_hand", 32, 32)
    assert scaffold.subtask == "touch it"
    np.testing.assert_allclose(scaffold.box, np.array([10, 20, 300, 400]) * 0.032, rtol=1e-6)
    places = np.array([100, 200, 300, 400, 500, 600])
    np.testing.assert_allclose(scaffold.trajectory, places * 0.032, rtol=1e-6)
    assert len(scaffold.action_tokens) == 16 and scaffold.action_tokens[1] == 140


def test_texts_come_beside_the_plans(graph, learnt_checkpoint, client, listening):
    process = start(graph, learnt_checkpoint, "reasoning_period:=0.01")
    chunks, scaffolds, health = listening
    handle = client.send(GOOD)
    graph.wait(lambda: len(scaffolds) >= 3 and len(chunks) >= 10, "texts and plans")
    graph.wait(lambda: client.feedback and client.feedback[-1].subtask, "a subtask")
    assert client.feedback[-1].subtask == "touch it"
    graph.wait(
        lambda: any(v.key == "text age (s)" for m in health for v in m.status[0].values),
        "diagnostics of texts",
    )
    values = {entry.key: entry.value for entry in health[-1].status[0].values}
    assert float(values["text latency p99 (ms)"]) > 0
    assert values["texts refused"].startswith("0 of ")
    assert float(values["distance of discrete actions"]) > 0
    result = end(graph, client, handle)
    graph.wait(lambda: len(chunks) == result.plans)
    for scaffold in list(scaffolds):
        check_scaffold(scaffold)
    stamps = [to_seconds(scaffold.header.stamp) for scaffold in scaffolds]
    assert stamps == sorted(set(stamps)), "a picture was written about twice"
    # No plan waited for a text: the first ones came before there was any, and none has such time.
    assert all(
        chunk.latency_ms[REASONING] == 0 < chunk.latency_ms[PREFIX] for chunk in list(chunks)[:-1]
    )
    assert "reasoning asynchronous" in process.output and "Traceback" not in process.output


def test_each_plan_waits_for_its_text_where_that_is_asked(
    graph, learnt_checkpoint, client, listening
):
    start(graph, learnt_checkpoint, "reasoning:=every_plan")
    chunks, scaffolds, _ = listening
    handle = client.send(GOOD)
    graph.wait(lambda: len(chunks) >= 3, "plans")
    result = end(graph, client, handle)
    graph.wait(lambda: len(chunks) == result.plans)
    plans = list(chunks)[:-1]  # the last one only stays where the robot is
    graph.wait(lambda: len(scaffolds) >= len(plans), "a text for every plan")
    assert all(chunk.latency_ms[REASONING] > 0 for chunk in plans)
    # Sensors give all pictures one stamp, which is also that of the plan.
    starts = [to_seconds(chunk.start) for chunk in plans]
    assert [to_seconds(s.header.stamp) for s in scaffolds][: len(starts)] == starts
    for scaffold in list(scaffolds):
        check_scaffold(scaffold)


def test_fewer_levels_may_be_asked_for(graph, learnt_checkpoint, client, listening):
    start(graph, learnt_checkpoint, "reasoning:=every_plan", "reasoning_level:=box")
    _, scaffolds, _ = listening
    handle = client.send(GOOD)
    graph.wait(lambda: scaffolds, "a text")
    assert scaffolds[0].valid and not math.isnan(scaffolds[0].box[0])
    assert not scaffolds[0].trajectory and not scaffolds[0].action_tokens
    end(graph, client, handle)


@pytest.mark.parametrize("mode", ["every_plan", "asynchronous"])
def test_refused_texts_are_told_with_the_reason(graph, learnt_checkpoint, client, listening, mode):
    process = start(graph, learnt_checkpoint, f"reasoning:={mode}")
    chunks, scaffolds, health = listening
    handle = client.send("say it the wrong way round")
    graph.wait(lambda: scaffolds and len(chunks) > 3, "a text and plans")
    scaffold = scaffolds[0]
    assert not scaffold.valid and "x_min 900 is above x_max 300" in scaffold.error
    assert scaffold.text == TEXTS["say it the wrong way round"]
    assert not scaffold.subtask and all(map(math.isnan, scaffold.box)) and not scaffold.trajectory
    graph.wait(lambda: health and health[-1].status[0].level == DiagnosticStatus.WARN, "a warning")
    assert "the newest text was refused" in health[-1].status[0].message
    graph.wait(lambda: client.feedback, "feedback")
    assert client.feedback[-1].subtask == ""
    end(graph, client, handle)
    assert "a text was refused: " in process.output


def test_off_is_silent(graph, learnt_checkpoint, client, listening):
    start(graph, learnt_checkpoint, "reasoning:=off")
    chunks, scaffolds, _ = listening
    _, result = client.result(client.send(GOOD, time_limit=1.0))
    assert result.outcome == ExecuteInstruction.Result.TIME_LIMIT and result.plans > 1
    graph.wait(lambda: len(chunks) == result.plans)
    assert not scaffolds


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (["reasoning:=every_plan"], "tiny does not reason, but reasoning is 'every_plan'"),
        (["reasoning:=often"], "reasoning is 'often'; choose one of off, every_plan"),
        (["reasoning:=3"], "reasoning is '3'; choose one of off, every_plan"),
        (["reasoning_level:=all"], "reasoning_level is 'all'; choose one of subtask, box"),
        (["temperature:=-1.0"], "temperature"),
    ],
)
def test_what_cannot_be_is_said_at_configure(graph, tiny_checkpoint, parameters, words):
    process = start(graph, tiny_checkpoint, *parameters)
    assert process.wait() == 1
    assert words in process.output and "Traceback" not in process.output


def test_a_checkpoint_without_scaffolds_needs_no_parameter(
    graph, tiny_checkpoint, client, listening
):
    process = start(graph, tiny_checkpoint)
    _, result = client.result(client.send(time_limit=0.5))
    assert result.plans and "reasoning off" in process.output
    assert not listening[1]


def test_it_can_be_released_while_it_writes(graph, learnt_checkpoint, client, listening):
    process = start(graph, learnt_checkpoint, "reasoning_period:=0.01")
    client.send("never stop")
    graph.wait(lambda: listening[0], "a plan")
    assert process.end() == 0 and "Traceback" not in process.output


def test_two_arms_are_two_paths_in_a_message():
    paths = {"left": ((0, 0), (500, 1000)), "right": ((1000, 250),)}
    scaffold = Scaffold("hand it over", None, paths, (0, 254))
    thought = Thought("text", (1, 2), scaffold, "", GOOD, 2.5, 3.0, "high", 640, 480, 7.0)
    message = message_from_thought(thought, "camera")
    assert to_seconds(message.header.stamp) == 2.5 and message.header.frame_id == "camera"
    sketch = Sketch.of(message)
    assert not sketch.refusal and sketch.box is None and sketch.subtask == "hand it over"
    left, right = sketch.paths
    np.testing.assert_allclose(left, [[0, 0], [320, 480]])
    np.testing.assert_allclose(right, [[640, 120]])
    assert list(message.action_tokens) == [0, 254]


def test_a_message_bears_to_be_checked(monkeypatch):
    """As with ROS_PYTHON_CHECK_FIELDS=1, which ROS reads once: each field must have its type."""
    monkeypatch.setattr("dm0_ros.msg._spatial_scaffold.ros_python_check_fields", "1")
    scaffold = Scaffold("go on", (10, 20, 300, 400), {"main": ((0, 0), (500, 1000))}, (0, 254))
    thought = Thought("text", (1, 2), scaffold, "", GOOD, 2.5, 3.0, "high", 640, 480, 7.0)
    box = message_from_thought(thought, "camera").box
    np.testing.assert_allclose(box, [6.4, 9.6, 192.0, 192.0], rtol=1e-6)


def test_a_refused_thought_shows_nothing_but_why():
    thought = Thought("garbage", (), None, "no scaffold", GOOD, 2.5, 3.0, "high", 640, 480, 7.0)
    sketch = Sketch.of(message_from_thought(thought, ""))
    assert sketch.refusal == "no scaffold" and sketch.box is None and not sketch.paths
