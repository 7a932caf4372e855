# SPDX-License-Identifier: Apache-2.0
"""The robot of docs/adding_a_robot.md as a graph: its arm moves by plans of a policy."""

import importlib.util
import signal
import sys

import numpy as np
import pytest
import yaml
from adding_a_robot import write_files
from rclpy.action import ActionClient
from sensor_msgs.msg import Image, JointState

from dm0_ros.action import ExecuteInstruction
from dm0_ros.msg import ExecutorStatus
from dm0_ros.nodes.quality import SENSOR, STATUS
from dm0_ros.robots import load_robot


@pytest.fixture
def folder(tmp_path, tiny_checkpoint):
    """kestrel/ from the page, and a checkpoint for it: random weights that move it somewhere."""
    write_files(tmp_path)
    settings = yaml.safe_load((tiny_checkpoint / "policy.yaml").read_text())
    settings |= {"robots": ["kestrel"], "camera_slots": ["right_hand", "left_hand", "high"]}
    (tiny_checkpoint / "policy.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path


def check_life(graph, robot):
    """Joint states, pictures and, from an instruction, a motion."""
    states = graph.collect(JointState, "joint_states", SENSOR)
    pictures = graph.collect(Image, "overlay/right_hand/image", SENSOR)
    status = graph.collect(ExecutorStatus, "executor_status", STATUS)
    graph.wait(lambda: states and pictures and status, "states, pictures and a status")
    assert tuple(states[0].name) == robot.column_names
    client = ActionClient(graph.node, ExecuteInstruction, "execute_instruction")
    graph.wait(client.server_is_ready, "the action server")
    goal = ExecuteInstruction.Goal(instruction="touch the red block")

    def accepted():
        sent = client.send_goal_async(goal)
        graph.wait(sent.done, "an answer to the goal")
        return sent.result().accepted

    graph.wait(accepted, "the goal to be accepted")
    graph.wait(lambda: status[-1].sequence > 0, "the executor to use a plan")
    start = np.array(states[0].position)

    def moved():
        return np.abs(np.array(states[-1].position) - start).max() > 0.01

    graph.wait(moved, "the arm to move")


def test_dm0_up_moves_the_sixth_robot(graph, folder):
    path = str(folder / "kestrel/kestrel.yaml")
    code = "from dm0_ros.cli import main; main()"
    words = ("up", path, "--sim", "--checkpoint", str(folder / "tiny"))
    up = graph.run(sys.executable, "-c", code, *words)
    check_life(graph, load_robot(path))
    assert up.end(signal.SIGINT, timeout=40.0) == 0
    assert "Traceback" not in up.output


@pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None,
    reason="needs ROS 2's launch_ros; see docs/launch.md",
)
def test_its_launch_file_moves_it_too(graph, folder):
    code = "import sys; from ros2cli.cli import main; sys.exit(main())"
    file = str(folder / "kestrel/kestrel.launch.py")
    words = ("launch", file, "sim:=true", f"checkpoint:={folder / 'tiny'}")
    launched = graph.run(sys.executable, "-c", code, *words)
    check_life(graph, load_robot(folder / "kestrel/kestrel.yaml"))
    assert launched.end(signal.SIGINT, timeout=40.0) == 0, launched.output
    assert "Traceback" not in launched.output
