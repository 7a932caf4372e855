# SPDX-License-Identifier: Apache-2.0
"""`dm0 up` and the launch file, for real: every node comes up, works, and goes down."""

import importlib.util
import os
import signal
import sys
from pathlib import Path

import pytest
from lifecycle_msgs.srv import GetState
from rclpy.action import ActionClient
from sensor_msgs.msg import Image, JointState
from test_recorder_graph import recorded_by

from dm0_ros.action import ExecuteInstruction
from dm0_ros.msg import ActionChunk, ExecutorStatus
from dm0_ros.nodes.quality import COMMAND, SENSOR, STATUS
from dm0_ros.policy.trace import Facts
from dm0_ros.replay.bag import look_into
from dm0_ros.replay.marks import read_marks

ROOT = Path(__file__).resolve().parents[2]
NODES = {"simulator", "policy", "executor", "overlay"}


def names(graph):
    return {name for name, _ in graph.node.get_node_names_and_namespaces()}


def is_active(graph, name):
    return graph.call(GetState, f"{name}/get_state").current_state.label == "active"


def check_life(graph, prefix="", slot="right_hand"):
    """The graph moves the arm: pictures, plans and a set-point, from an instruction."""
    states = graph.collect(JointState, f"{prefix}joint_states", SENSOR)
    drawn = graph.collect(Image, f"{prefix}overlay/{slot}/image", SENSOR)
    status = graph.collect(ExecutorStatus, f"{prefix}executor_status", STATUS)
    chunks = graph.collect(ActionChunk, f"{prefix}action_chunk", COMMAND)
    graph.wait(lambda: names(graph) >= NODES, "all nodes")
    graph.wait(lambda: len(states) > 10 and drawn and status, "states, pictures and a status")
    for name in ("policy", "executor"):
        graph.wait(lambda name=name: is_active(graph, f"{prefix}{name}"), f"{name} to be active")
    client = ActionClient(graph.node, ExecuteInstruction, f"{prefix}execute_instruction")
    graph.wait(client.server_is_ready, "the action server")
    for colour in ("red", "blue"):
        known = chunks[-1].sequence if chunks else 0
        goal = ExecuteInstruction.Goal(instruction=f"touch the {colour} block")
        sent = client.send_goal_async(goal)
        graph.wait(sent.done, "an answer to the goal")
        assert sent.result().accepted
        graph.wait(lambda known=known: status[-1].sequence > known, "the executor to use a plan")
        graph.wait(sent.result().cancel_goal_async().done, "an answer to the cancel")
        graph.wait(sent.result().get_result_async().done, "a result")
        # The plan to stay runs out: that must not keep the next instruction from working.
        graph.wait(lambda: status[-1].state == ExecutorStatus.HOLD, "the arm to be still")


def run_up(graph, checkpoint, *options, robot="franka"):
    code = "from dm0_ros.cli import main; main()"
    words = ("up", robot, "--sim", "--checkpoint", str(checkpoint), *options)
    return graph.run(sys.executable, "-c", code, *words, COLUMNS="200")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_dm0_up_starts_and_ends_the_graph(graph, tiny_checkpoint, number):
    up = run_up(graph, tiny_checkpoint, "--namespace", "left")
    check_life(graph, "/left/")
    assert up.end(number, timeout=40.0) == 0
    assert "Traceback" not in up.output
    assert "simulator | " in up.output and "   policy | " in up.output
    graph.wait(lambda: not names(graph) & NODES, "the nodes to be gone")


def test_dm0_up_records_the_graph_with_its_episodes(graph, tiny_checkpoint, tmp_path):
    bag = tmp_path / "bag"
    up = run_up(graph, tiny_checkpoint, "--namespace", "left", "--record", "--bag", str(bag))
    graph.wait(lambda: recorded_by(graph, "/left/episode"), "the recorder to listen")
    check_life(graph, "/left/")
    assert up.end(signal.SIGINT, timeout=40.0) == 0, up.output
    marks = read_marks(bag, "/left/")
    assert [m.instruction for m in marks] == ["touch the red block", "touch the blue block"]
    assert [m.outcome for m in marks] == ["cancelled"] * 2
    contents = look_into(bag)
    # of a status that is kept only until the next one, some may be lost, and that is said
    assert [s for s in contents.missing if "executor_status" not in s] == []
    action = "/left/execute_instruction/_action"
    for topic in (
        *("/left/joint_states", "/left/action_chunk", "/left/executor_status", "/diagnostics"),
        *("/left/camera/right_hand/image_raw", "/left/camera/right_hand/camera_info"),
        *("/left/forward_position_controller/commands", f"{action}/status"),
    ):
        assert contents.counts.get(topic, 0) > 0, sorted(contents.counts)
    assert f"{action}/feedback" in contents.topics  # these goals end before they tell anything
    assert Facts.parse(contents.custom["dm0_ros/left/policy_facts"]).robot == "franka"
    assert "name: franka" in contents.custom["dm0_ros.robot_yaml"]


def test_arms_on_a_base_come_up_as_arms_do(graph, tiny_mobile_checkpoint):
    settings = tiny_mobile_checkpoint / "policy.yaml"
    settings.write_text(settings.read_text().replace("layout: mobile", "layout: joint"))
    up = run_up(graph, tiny_mobile_checkpoint, robot="mobile_aloha")
    check_life(graph, slot="high")
    assert up.end(signal.SIGINT, timeout=40.0) == 0
    assert "Traceback" not in up.output


def test_one_process_that_ends_is_named_and_ends_all(graph, tiny_checkpoint):
    up = run_up(graph, tiny_checkpoint)
    graph.wait(lambda: names(graph) >= NODES, "all nodes")
    os.kill(find_child(up.pid, "dm0_ros.nodes.executor"), signal.SIGKILL)
    assert up.wait() == 1
    assert "executor ended with status -9" in up.output and "Traceback" not in up.output
    graph.wait(lambda: not names(graph) & (NODES - {"executor"}), "the nodes to be gone")


def find_child(parent, module):
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode().split("\0")
            above = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue  # it has ended meanwhile
        if above == parent and module in line:
            return int(folder.name)
    raise AssertionError(f"no child {module} of {parent}")


def test_dm0_up_says_what_is_wrong(graph, tmp_path):
    up = run_up(graph, tmp_path / "nowhere")
    assert up.wait() == 1
    assert "policy ended with status 1" in up.output and "nowhere" in up.output


def has_launch():
    # The folder launch/ of this repository looks like a package to Python.
    return importlib.util.find_spec("launch_ros") is not None


@pytest.mark.skipif(not has_launch(), reason="needs ROS 2's launch_ros; see docs/launch.md")
def test_launch_file_starts_and_ends_the_graph(graph, tiny_checkpoint):
    code = "import sys; from ros2cli.cli import main; sys.exit(main())"
    file = str(ROOT / "launch/franka.launch.py")
    words = ("launch", file, "sim:=true", f"checkpoint:={tiny_checkpoint}")
    launched = graph.run(sys.executable, "-c", code, *words)
    check_life(graph)
    assert launched.end(signal.SIGINT, timeout=40.0) == 0, launched.output
    assert "Traceback" not in launched.output
    graph.wait(lambda: not names(graph) & NODES, "the nodes to be gone")
