# SPDX-License-Identifier: Apache-2.0
"""A bag into a live graph: plans with recorded stamps, simulated time, and no robot in reach."""

import importlib.util
import json
import sys

import pytest
from cell import ARM, GRIPPER, Cell, make_sink, move, write_robot
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.action import ActionClient
from replay_bags import BEGIN
from replay_recordings import ROBOT, losing, record
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger
from test_bringup_graph import ROOT, has_launch

from dm0_ros.action import ExecuteInstruction
from dm0_ros.msg import ActionChunk, ExecutorStatus
from dm0_ros.nodes.quality import COMMAND, SENSOR, STATUS
from dm0_ros.nodes.stamps import to_duration, to_seconds, to_time
from dm0_ros.nodes.stand_in import StandIn
from dm0_ros.policy.marks import MARKS_TOPIC, Mark
from dm0_ros.replay.bag import look_into, read_messages
from dm0_ros.robots.loading import load_robot

TASKS = ("touch the red block", "touch it")
SECONDS = 4.0  # of each


def replay(graph, bag, *words):
    command = (sys.executable, "-m", "dm0_ros.cli", "replay", str(bag), "--live", *words)
    return graph.run(*command, COLUMNS="200")


def picture_stamps(bag):
    names = [name for name in look_into(bag).topics if name.endswith("image_raw")]
    return {to_seconds(message.content.header.stamp) for message in read_messages(bag, names)}


def test_a_bag_gives_live_plans_in_recorded_time(graph, tiny_checkpoint, tmp_path):
    bag, figures = tmp_path / "bag", tmp_path / "out" / "live.json"
    recorded = record(bag, tiny_checkpoint, TASKS, SECONDS)
    chunks = graph.collect(ActionChunk, "/replay/action_chunk", COMMAND)
    status = graph.collect(ExecutorStatus, "/replay/executor_status", STATUS)
    beside = graph.collect(ActionChunk, "/replay/recorded/action_chunk", COMMAND)
    reports = graph.collect(DiagnosticArray, "/replay/diagnostics", COMMAND)
    clocks = graph.collect(Clock, "/clock", SENSOR, keep=10_000)
    shared = [
        graph.collect(kind, topic, COMMAND)
        for kind, topic in (
            (ActionChunk, "/action_chunk"),
            (DiagnosticArray, "/diagnostics"),
            *((Float64MultiArray, f"/{sink.topic}") for sink in ROBOT.sinks),
        )
    ]
    process = replay(graph, bag, "--recorded", "--json", str(figures))
    graph.wait(lambda: not process.running(), "the end of the bag", timeout=200.0)
    assert process.wait() == 0 and "Traceback" not in process.output, process.output

    end = look_into(bag).end
    inferred = [chunk for chunk in chunks if chunk.rows > 1]
    assert len(inferred) >= 2 and {chunk.instruction for chunk in chunks} == set(TASKS)
    seen = picture_stamps(bag)
    for chunk in inferred:
        assert to_seconds(chunk.start) in seen
        assert to_seconds(chunk.start) <= to_seconds(chunk.header.stamp) <= end
    # before the player came, an executor of simulated time had none
    told = [stamp for m in status if (stamp := to_seconds(m.header.stamp))]
    told += [stamp for m in reports if (stamp := to_seconds(m.header.stamp))]
    assert told and all(BEGIN <= stamp <= end for stamp in told)
    times = [to_seconds(message.clock) for message in clocks]
    assert times == sorted(times) and times[0] == pytest.approx(BEGIN, abs=0.1)
    assert not any(shared)
    assert 0 < len(beside) <= len(recorded.plans)

    found = json.loads(figures.read_text())
    assert found["plans"] + found["plans_to_stay"] >= len(chunks) >= found["plans"] >= 2
    assert found["recorded_plans"] == len(recorded.plans)
    assert [task["instruction"] for task in found["tasks"]] == list(TASKS)
    assert all(task["outcome"] for task in found["tasks"])
    assert f"{found['plans']} plans live, {len(recorded.plans)} recorded" in process.output


@pytest.fixture
def stage(graph, tiny_checkpoint, tmp_path):
    """Policy and executor of a replay, a bag, and what starts a player for it."""
    record(tmp_path / "bag", tiny_checkpoint, TASKS[:1], SECONDS)
    own = ("-r", "__ns:=/replay")
    common = ("autostart:=true", "use_sim_time:=true", "robot:=franka")
    graph.start("executor", *common, arguments=own)
    graph.start("policy", *common, f"checkpoint:={tiny_checkpoint}", arguments=own)

    def play(*parameters):
        return graph.start("player", f"bag:={tmp_path / 'bag'}", *parameters, arguments=own)

    return play


def test_time_may_go_back_stand_still_and_go_by_steps(graph, stage):
    clocks = graph.collect(Clock, "/clock", SENSOR, keep=10_000)
    chunks = graph.collect(ActionChunk, "/replay/action_chunk", COMMAND)
    first = stage("rate:=2.0")
    graph.wait(lambda: not first.running(), "the end of the first player", timeout=120.0)
    assert first.wait() == 0, first.output
    known, latest = len(chunks), to_seconds(clocks[-1].clock)
    assert known and latest > BEGIN + SECONDS

    clocks.clear()
    second = stage()
    graph.wait(lambda: "playing" in second.output, "the second player to begin")
    refused = graph.call(Trigger, "/replay/player/step")
    assert not refused.success and "pause it first" in refused.message
    assert graph.call(SetBool, "/replay/player/pause", SetBool.Request(data=True)).success
    graph.spin(0.2)  # what was on its way
    stood = to_seconds(clocks[-1].clock)
    assert BEGIN - 0.1 < stood < latest
    graph.spin(0.3)
    assert to_seconds(clocks[-1].clock) == stood
    assert graph.call(Trigger, "/replay/player/step").success
    graph.wait(lambda: to_seconds(clocks[-1].clock) > stood, "a step")
    assert to_seconds(clocks[-1].clock) <= stood + 0.1 + 1e-6
    graph.call(SetBool, "/replay/player/pause", SetBool.Request(data=False))
    graph.wait(lambda: len(chunks) > known, "a plan after time went back")
    assert to_seconds(chunks[-1].start) < latest
    assert second.end() == 0
    assert "plans live" in second.output  # what came of it is told, however it ends


def test_limits_of_tasks_pass_with_simulated_time(graph, tiny_checkpoint):
    words = ("autostart:=true", "use_sim_time:=true", "observation_timeout:=600.0")
    graph.start("policy", *words, f"checkpoint:={tiny_checkpoint}")
    clock = graph.publisher(Clock, "/clock", SENSOR)
    marks = graph.collect(String, MARKS_TOPIC, STATUS)
    client = ActionClient(graph.node, ExecuteInstruction, "execute_instruction")
    graph.wait(client.server_is_ready, "the action server")

    def at(seconds, condition):
        clock.publish(Clock(clock=to_time(seconds)))
        return condition()

    goal = ExecuteInstruction.Goal(instruction="touch it", time_limit=to_duration(3600.0))
    sent = client.send_goal_async(goal)
    graph.wait(lambda: at(100.0, lambda: marks and sent.done()), "the task to begin")
    ended = sent.result().get_result_async()
    graph.wait(lambda: at(5000.0, ended.done), "an hour of simulated time")
    result = ended.result().result
    assert result.outcome == ExecuteInstruction.Result.TIME_LIMIT
    assert Mark.parse(marks[-1].data).end - Mark.parse(marks[0].data).begin > 3600.0


def test_a_second_clock_is_refused(graph, stage):
    others = graph.node.create_publisher(Clock, "/clock", SENSOR)
    others.publish(Clock())
    process = stage()
    assert process.wait() == 1
    assert "/judge publishes /clock too: end it" in process.output


def test_other_sensors_in_its_namespace_are_refused(graph, stage):
    graph.node.create_publisher(JointState, "/replay/joint_states", SENSOR)
    process = stage()
    assert process.wait() == 1
    assert "/judge publishes /replay/joint_states too" in process.output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--into", "/"], "into: a replay has a namespace of its own"),
        (["--robot", "mobile_base"], "mobile_base is a base alone"),
        (["--from", "90"], "nothing to play from 90 s on"),
        (["--latency", "0"], "are for a replay without --live"),
    ],
)
def test_what_cannot_be_is_said(graph, tiny_checkpoint, tmp_path, words, sentence):
    record(tmp_path / "bag", tiny_checkpoint, seconds=0.2)
    process = replay(graph, tmp_path / "bag", *words)
    assert process.wait() == 1
    assert sentence in process.output and "Traceback" not in process.output


def test_a_bag_without_the_pictures_or_without_tasks_is_refused(graph, tiny_checkpoint, tmp_path):
    record(
        tmp_path / "blind", tiny_checkpoint, seconds=0.2, lose=losing("camera/left_hand/image_raw")
    )
    process = replay(graph, tmp_path / "blind")
    assert process.wait() == 1
    assert "no pictures of camera slot left_hand" in process.output
    lost = losing("action_chunk", "policy_trace")
    record(tmp_path / "idle", tiny_checkpoint, seconds=0.2, lose=lost)
    process = replay(graph, tmp_path / "idle")
    assert process.wait() == 1
    assert "does not say what was to be done" in process.output


def test_no_player_plays_where_robots_are(graph, tiny_checkpoint, tmp_path):
    record(tmp_path / "bag", tiny_checkpoint, seconds=0.2)
    process = graph.start("player", f"bag:={tmp_path / 'bag'}")
    assert process.wait() == 1
    assert "commands of a replay must reach no robot" in process.output
    process = graph.start("player", arguments=("-r", "__ns:=/replay"))
    assert process.wait() == 1
    assert "needs a bag" in process.output


def test_a_player_that_waits_in_vain_says_for_what(graph, tiny_checkpoint, tmp_path):
    record(tmp_path / "bag", tiny_checkpoint, seconds=0.2)
    words = (f"bag:={tmp_path / 'bag'}", "ready_timeout:=1.0")
    process = graph.start("player", *words, arguments=("-r", "__ns:=/replay"))
    assert process.wait() == 1
    assert "not ready within 1 s: policy is not there; executor is not there" in process.output


@pytest.mark.skipif(
    importlib.util.find_spec("control_msgs") is None, reason="control_msgs is not installed"
)
def test_controllers_that_are_driven_by_actions_have_a_stand_in_too(graph, tmp_path):
    sinks = [
        make_sink("follow_joint_trajectory", "arm/follow_joint_trajectory", ARM.names),
        make_sink("gripper_command", "gripper/gripper_cmd", GRIPPER.names),
    ]
    path = write_robot(tmp_path, sinks=sinks)
    stand_in = StandIn(graph.node, load_robot(path))
    cell = Cell(graph, robot=path)
    cell.plan(move(rows=50))
    cell.wait_state(ExecutorStatus.EXECUTING)
    for sink in sinks:
        graph.wait(lambda sink=sink: stand_in.counts[sink["topic"]] > 0, sink["topic"])
    graph.wait(lambda: stand_in.counts["arm/follow_joint_trajectory"] > 3, "goals")
    assert cell.status[-1].dropped == 0


@pytest.mark.skipif(not has_launch(), reason="needs ROS 2's launch_ros; see docs/launch.md")
def test_launch_file_plays_a_bag_to_its_end(graph, tiny_checkpoint, tmp_path):
    record(tmp_path / "bag", tiny_checkpoint, TASKS, SECONDS)
    chunks = graph.collect(ActionChunk, "/replay/action_chunk", COMMAND)
    code = "import sys; from ros2cli.cli import main; sys.exit(main())"
    file = str(ROOT / "launch/replay.launch.py")
    launched = graph.run(sys.executable, "-c", code, "launch", file, f"bag:={tmp_path / 'bag'}")
    graph.wait(lambda: not launched.running(), "the end of the bag", timeout=200.0)
    assert launched.wait() == 0, launched.output
    assert "plans live" in launched.output and "Traceback" not in launched.output
    assert any(BEGIN <= to_seconds(chunk.start) < BEGIN + 60 for chunk in chunks)
