# SPDX-License-Identifier: Apache-2.0
"""A real `colcon build` of this package, used from a fresh shell and over DDS."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import peer
import pytest
from rclpy.action import ActionClient

from dm0_ros.action import ExecuteInstruction

ROOT = Path(__file__).resolve().parents[2]
NOT_SOURCE = (".git", ".venv", "build", "install", "log", "out", "__pycache__", "*.egg-info")
DEADLINE = 60.0
PROBE = """
import dm0_ros, dm0_ros.msg
from dm0_ros.msg import ActionChunk
from dm0_ros.resources import find_resource
from rclpy.serialization import serialize_message
assert len(serialize_message(ActionChunk())) > 50
libraries = {line.split()[-1] for line in open("/proc/self/maps") if "libdm0_ros__" in line}
print(dm0_ros.__file__, dm0_ros.msg.__file__, find_resource("config", "fastdds.xml"), *libraries)
"""


def shell_environment():
    """What a person's shell has before it sources a workspace: no trace of this Python's own."""
    kept = (
        "HOME",
        "FASTRTPS_DEFAULT_PROFILES_FILE",
        "LANG",
        "ROS_DOMAIN_ID",
        "ROS_AUTOMATIC_DISCOVERY_RANGE",
        "ROS_LOG_DIR",
    )
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment["PATH"] = os.pathsep.join([f"{sys.prefix}/bin", os.environ["PATH"]])
    environment["VIRTUAL_ENV"] = sys.prefix
    return environment


def in_shell(*commands):
    return ["bash", "-c", " && ".join(commands)]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace with a copy of the package, built with the ROS 2 of this environment."""
    folder = tmp_path_factory.mktemp("workspace")
    ignore = shutil.ignore_patterns(*NOT_SOURCE)
    shutil.copytree(ROOT, folder / "src/dm0_ros", ignore=ignore)
    underlays = [Path(p, "setup.bash") for p in os.environ["AMENT_PREFIX_PATH"].split(os.pathsep)]
    sourcing = [f"source {path}" for path in reversed(underlays) if path.is_file()]
    result = subprocess.run(
        in_shell(*sourcing, "colcon build --event-handlers console_cohesion+"),
        cwd=folder,
        env=shell_environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 package finished" in result.stdout
    return folder


@pytest.mark.slow
def test_fresh_shell_finds_everything_in_the_workspace(workspace):
    prefix = workspace / "install/dm0_ros"
    result = subprocess.run(
        [*in_shell("source install/setup.bash", 'python -c "$0"'), PROBE],
        cwd=workspace,
        env=shell_environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert result.returncode == 0, result.stderr
    found = [Path(word) for word in result.stdout.split()]
    assert len(found) > 4
    assert all(prefix in path.parents for path in found), found


@pytest.mark.slow
def test_workspace_holds_what_ros_tools_look_for(workspace):
    prefix = workspace / "install/dm0_ros"
    for name in ("policy", "executor", "overlay", "simulator", "dm0"):
        assert os.access(prefix / "lib/dm0_ros" / name, os.X_OK), name
    share = prefix / "share/dm0_ros"
    for name in ("package.xml", "msg/ActionChunk.msg", "action/ExecuteInstruction.action"):
        assert (share / name).is_file(), name
    for kind in ("launch", "config", "urdf", "checkpoints"):
        sources = {p for p in (ROOT / kind).rglob("*") if p.is_file()}
        sources = {p.relative_to(ROOT) for p in sources if "__pycache__" not in p.parts}
        missing = [str(p) for p in sources if not (share / p).is_file()]
        assert not missing
    index = prefix / "share/ament_index/resource_index"
    assert (index / "packages/dm0_ros").is_file()
    interfaces = (index / "rosidl_interfaces/dm0_ros").read_text().split()
    assert {"msg/ActionChunk.msg", "action/ExecuteInstruction.action"} <= set(interfaces)


@pytest.mark.slow
def test_action_is_served_from_the_workspace(workspace, graph):
    setup = workspace / "install/setup.bash"
    command = in_shell(f"source {setup}", f"exec python {peer.__file__} serve")
    given = shell_environment()
    dropped = [word for name in os.environ if name not in given for word in ("-u", name)]
    process = graph.run("env", *dropped, *command, **given)
    graph.wait(lambda: process.lines, "the server's first line")
    assert str(workspace) in process.lines[0]
    client = ActionClient(graph.node, ExecuteInstruction, "execute_instruction")
    graph.wait(client.server_is_ready, "the action server")
    sent = client.send_goal_async(ExecuteInstruction.Goal(instruction="touch the blue block"))
    graph.wait(sent.done, "the server's acceptance")
    answer = sent.result().get_result_async()
    graph.wait(answer.done, "the result")
    assert answer.result().result.message == "touch the blue block"
    client.destroy()
    assert process.end() == 0
