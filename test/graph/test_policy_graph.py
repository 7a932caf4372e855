# SPDX-License-Identifier: Apache-2.0
"""The policy node with a real (tiny, untrained) network: its life, its action, its refusals."""

import signal

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from diagnostic_msgs.msg import DiagnosticArray
from instructing import Client
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from sensors import Sensors

from dm0_ros.action import ExecuteInstruction
from dm0_ros.msg import ActionChunk, ExecutorStatus
from dm0_ros.nodes.quality import COMMAND, STATUS
from dm0_ros.nodes.stamps import read_clock, to_seconds
from dm0_ros.policy.wire import read_plan
from dm0_ros.robots.loading import load_robot

SPEC = load_robot("franka")
Result = ExecuteInstruction.Result
# An untrained network would rest or not as chance has it.
RESTLESS = "rest_distance:=0.0"


@pytest.fixture
def client(graph):
    return Client(graph)


@pytest.fixture
def sensors(graph):
    return Sensors(graph, SPEC)


def start(graph, checkpoint, *parameters, autostart=True):
    given = (f"checkpoint:={checkpoint}", "threads:=1", RESTLESS, *parameters)
    return graph.start("policy", f"autostart:={str(autostart).lower()}", *given)


def change(graph, transition):
    request = ChangeState.Request(transition=Transition(id=transition))
    return graph.call(ChangeState, "policy/change_state", request).success


def state(graph):
    return graph.call(GetState, "policy/get_state").current_state.id


def test_plans_flow_while_a_goal_runs_and_only_then(graph, tiny_checkpoint, client, sensors):
    process = start(graph, tiny_checkpoint, "period:=0.05")
    chunks = graph.collect(ActionChunk, "action_chunk", COMMAND)
    health = graph.collect(DiagnosticArray, "/diagnostics", 10)
    status = graph.node.create_publisher(ExecutorStatus, "executor_status", STATUS)
    status.publish(ExecutorStatus(state=ExecutorStatus.IDLE, epoch=7))
    graph.wait(lambda: health)
    assert not chunks
    handle = client.send(time_limit=2.0)
    assert handle.accepted
    outcome, result = client.result(handle)
    assert outcome == GoalStatus.STATUS_ABORTED
    assert result.outcome == Result.TIME_LIMIT and "2 s" in result.message
    graph.wait(lambda: len(chunks) == result.plans, "every plan that the result counts")
    count = len(chunks)
    graph.spin(0.5)
    assert len(chunks) == count > 5, "it went on after the goal"
    check_chunks(list(chunks), graph)
    assert client.feedback and client.feedback[-1].plans > 0
    elapsed = [to_seconds(message.elapsed) for message in client.feedback]
    assert elapsed == sorted(elapsed)
    names = {entry.key for message in health for entry in message.status[0].values}
    assert "plan latency p99 (ms)" in names and "age of camera right_hand (s)" in names
    assert process.end(signal.SIGINT) == 0 and "Traceback" not in process.output


def check_chunks(chunks, graph):
    assert [chunk.sequence for chunk in chunks] == list(range(1, len(chunks) + 1))
    home = np.array([SPEC.home[name] for name in SPEC.column_names])
    for chunk in chunks[:-1]:
        assert chunk.epoch == 7 and chunk.policy == "tiny" and chunk.rows == 6
        assert chunk.instruction == "touch the red block"
        assert chunk.header.frame_id == "fr3_link0"
        assert 0.0 <= to_seconds(chunk.header.stamp) - to_seconds(chunk.start) < 1.0
        assert read_clock(graph.node.get_clock()) > to_seconds(chunk.start)
        plan = read_plan(chunk)
        assert plan.names == SPEC.column_names and plan.step == pytest.approx(0.1)
        assert np.isfinite(plan.values).all() and plan.latency.total > 0
        assert np.abs(plan.values - home).max() < 1.0
    # The last one stays where the robot is, so that the time limit also ends the motion.
    last = read_plan(chunks[-1])
    np.testing.assert_allclose(last.values, home[None], atol=1e-9)


def test_it_plans_as_rarely_as_the_checkpoint_says(graph, tiny_checkpoint, client, sensors):
    settings = tiny_checkpoint / "policy.yaml"
    slower = settings.read_text().replace("step: 0.1", "step: 0.2")
    settings.write_text(slower + "executed_rows: 3\n")  # half of the chunk
    start(graph, tiny_checkpoint)
    chunks = graph.collect(ActionChunk, "action_chunk", COMMAND)
    _, result = client.result(client.send(time_limit=3.0))
    graph.wait(lambda: len(chunks) == result.plans, "every plan that the result counts")
    # Five, 0.6 s apart, and one that stays where the robot is; 0.2 s apart they would be 16.
    assert 1 < result.plans <= 6


def test_cancel_and_a_second_goal(graph, tiny_checkpoint, client, sensors):
    process = start(graph, tiny_checkpoint)
    chunks = graph.collect(ActionChunk, "action_chunk", COMMAND)
    first = client.send()
    graph.wait(lambda: chunks, "a plan")
    assert not client.send("touch the blue block").accepted
    graph.wait(lambda: "another instruction runs" in process.output, "the reason in the log")
    graph.wait(first.cancel_goal_async().done, "an answer to the cancel")
    outcome, result = client.result(first)
    assert outcome == GoalStatus.STATUS_CANCELED and result.outcome == Result.CANCELLED
    assert client.send(time_limit=0.5).accepted, "it does not take the next one"


def test_instructions_that_it_cannot_take(graph, tiny_checkpoint, client):
    start(graph, tiny_checkpoint)
    for instruction, sentence in (("", "empty"), ("  ", "empty"), ("red " * 2500, "too long")):
        outcome, result = client.result(client.send(instruction))
        assert outcome == GoalStatus.STATUS_ABORTED
        assert result.outcome == Result.REJECTED and sentence in result.message


def test_inactive_it_rejects_and_publishes_nothing(graph, tiny_checkpoint, client, sensors):
    process = start(graph, tiny_checkpoint, autostart=False)
    chunks = graph.collect(ActionChunk, "action_chunk", COMMAND)
    assert state(graph) == State.PRIMARY_STATE_UNCONFIGURED
    assert not change(graph, Transition.TRANSITION_ACTIVATE), "an invalid transition"
    assert change(graph, Transition.TRANSITION_CONFIGURE)
    assert not client.send().accepted
    graph.wait(lambda: "not active" in process.output)
    assert change(graph, Transition.TRANSITION_ACTIVATE)
    handle = client.send()
    graph.wait(lambda: chunks, "a plan")
    assert change(graph, Transition.TRANSITION_DEACTIVATE)
    outcome, result = client.result(handle)
    assert outcome == GoalStatus.STATUS_ABORTED and "deactivated" in result.message
    count = result.plans
    graph.spin(0.5)
    assert len(chunks) == count
    assert change(graph, Transition.TRANSITION_CLEANUP)
    assert change(graph, Transition.TRANSITION_CONFIGURE), "it can be configured again"


HARMS = {
    "camera 'left_hand'": lambda s: s.silent.add("left_hand"),
    "fr3_joint4": lambda s: s.silent.add("fr3_joint4"),
    "fr3_joint2": lambda s: s.break_joint("fr3_joint2"),
    "camera/right_hand/image_raw": lambda s: setattr(s, "encoding", "32FC1"),
}


def test_observations_that_go_bad_end_the_goal(graph, tiny_checkpoint, client, sensors):
    start(graph, tiny_checkpoint, "observation_timeout:=0.5")
    chunks = graph.collect(ActionChunk, "action_chunk", COMMAND)
    for name, harm in HARMS.items():
        sensors.heal()
        handle = client.send()
        count = len(chunks)
        graph.wait(lambda count=count: len(chunks) > count + 2, "plans")
        harm(sensors)
        outcome, result = client.result(handle)
        assert outcome == GoalStatus.STATUS_ABORTED and result.outcome == Result.FAULT
        assert name in result.message


@pytest.mark.parametrize("name", ["camera 'left_hand'", "fr3_joint4"])
def test_no_plan_without_an_observation(graph, tiny_checkpoint, client, sensors, name):
    HARMS[name](sensors)
    start(graph, tiny_checkpoint, "observation_timeout:=0.5")
    chunks = graph.collect(ActionChunk, "action_chunk", COMMAND)
    _, result = client.result(client.send())
    assert result.outcome == Result.FAULT and name in result.message
    assert not chunks and not result.plans


def test_joints_in_another_order_just_work(graph, tiny_checkpoint, client, sensors):
    sensors.shuffle()
    start(graph, tiny_checkpoint)
    chunks = graph.collect(ActionChunk, "action_chunk", COMMAND)
    _, result = client.result(client.send(time_limit=1.0))
    assert result.outcome == Result.TIME_LIMIT and result.plans > 1
    graph.wait(lambda: len(chunks) == result.plans)
    still = read_plan(chunks[-1])
    expected = [[SPEC.home[name] for name in still.names]]
    np.testing.assert_allclose(still.values, expected, atol=1e-9)


def test_executor_that_stopped_ends_the_goal(graph, tiny_checkpoint, client, sensors):
    start(graph, tiny_checkpoint)
    chunks = graph.collect(ActionChunk, "action_chunk", COMMAND)
    status = graph.node.create_publisher(ExecutorStatus, "executor_status", STATUS)
    for kind in (ExecutorStatus.HOLD, ExecutorStatus.FAULT):
        status.publish(ExecutorStatus(state=ExecutorStatus.IDLE, epoch=kind))
        graph.wait(status.get_subscription_count, "a listener")
        count, handle = len(chunks), client.send()
        graph.wait(lambda count=count: len(chunks) > count, "a plan")
        reason = "somebody pressed the button"
        status.publish(ExecutorStatus(state=kind, reason=reason, needs_reset=True))
        outcome, result = client.result(handle)
        assert outcome == GoalStatus.STATUS_ABORTED and result.outcome == Result.FAULT
        assert "pressed the button" in result.message and "reset" in result.message


def test_a_stop_and_a_reset_in_one_breath_end_the_goal(graph, tiny_checkpoint, client, sensors):
    """As during an inference that takes seconds: nobody looks before both are over."""
    start(graph, tiny_checkpoint)
    chunks = graph.collect(ActionChunk, "action_chunk", COMMAND)
    status = graph.node.create_publisher(ExecutorStatus, "executor_status", STATUS)
    status.publish(ExecutorStatus(state=ExecutorStatus.EXECUTING, epoch=2))
    graph.wait(status.get_subscription_count, "a listener")
    handle = client.send(time_limit=10.0)
    graph.wait(lambda: len(chunks) > 2, "plans")
    stop = {"state": ExecutorStatus.HOLD, "needs_reset": True, "reason": "stop requested"}
    status.publish(ExecutorStatus(epoch=2, **stop))
    status.publish(ExecutorStatus(epoch=3))
    _, result = client.result(handle)
    assert result.outcome == Result.FAULT and "executor" in result.message
    graph.wait(lambda: len(chunks) == result.plans)
    assert {chunk.epoch for chunk in list(chunks)[1:]} == {2}, "it would move after the reset"
    assert client.send(time_limit=0.5).accepted
    graph.wait(lambda: chunks[-1].epoch == 3, "a plan of the next instruction")


def test_progress_ends_the_goal(graph, tiny_progress_checkpoint, client, sensors):
    start(graph, tiny_progress_checkpoint, "progress_threshold:=0.2")
    outcome, result = client.result(client.send())
    assert outcome == GoalStatus.STATUS_SUCCEEDED and result.outcome == Result.SUCCEEDED
    assert result.progress >= 0.2


def test_rest_ends_the_goal(graph, tiny_checkpoint, client, sensors):
    start(graph, tiny_checkpoint, "rest_distance:=3.0", "rest_time:=0.3")
    outcome, result = client.result(client.send())
    assert outcome == GoalStatus.STATUS_SUCCEEDED and "no motion" in result.message


def test_compressed_pictures(graph, tiny_checkpoint, client):
    Sensors(graph, SPEC, compressed=True)
    start(graph, tiny_checkpoint, "compressed:=true")
    _, result = client.result(client.send(time_limit=1.0))
    assert result.outcome == Result.TIME_LIMIT and result.plans > 1


def remove_statistics(folder):
    (folder / "norm_stats.json").unlink()


def truncate_weights(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def break_config(folder):
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (remove_statistics, "norm_stats.json"),
        (truncate_weights, "model.safetensors"),
        (break_config, "config.json"),
    ],
)
def test_checkpoint_that_cannot_be_used(graph, tiny_checkpoint, harm, sentence):
    harm(tiny_checkpoint)
    process = start(graph, tiny_checkpoint)
    assert process.wait() == 1
    assert sentence in process.output and "Traceback" not in process.output


def test_a_checkpoint_that_drives_a_base_is_refused(graph, tiny_mobile_checkpoint):
    process = start(graph, tiny_mobile_checkpoint, "robot:=mobile_aloha")
    assert process.wait() == 1
    assert "drives a base (vx, wz), which the executor does not" in process.output
    assert "Traceback" not in process.output


def test_configure_fails_with_a_sentence_and_can_be_tried_again(graph, tiny_checkpoint):
    statistics = (tiny_checkpoint / "norm_stats.json").read_bytes()
    remove_statistics(tiny_checkpoint)
    process = start(graph, tiny_checkpoint, autostart=False)
    assert not change(graph, Transition.TRANSITION_CONFIGURE)
    graph.wait(lambda: "norm_stats.json" in process.output)
    assert state(graph) == State.PRIMARY_STATE_UNCONFIGURED
    (tiny_checkpoint / "norm_stats.json").write_bytes(statistics)
    assert change(graph, Transition.TRANSITION_CONFIGURE)


def test_loading_is_bounded(graph, tiny_checkpoint):
    process = start(graph, tiny_checkpoint, "load_timeout:=0.01")
    assert process.wait() == 1
    assert "load_timeout" in process.output


def test_unknown_checkpoint_and_robot(graph):
    for parameter in ("checkpoint:=nosuch", "robot:=nosuch"):
        process = graph.start("policy", "autostart:=true", parameter)
        assert process.wait() == 1
        assert "nosuch" in process.output and "Traceback" not in process.output
