# SPDX-License-Identifier: Apache-2.0
"""`make env`: what it notices, and what the environment gives to shells and to children."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import activation  # noqa: E402
import prepare_environment as tool  # noqa: E402

VENV = Path(sys.prefix)
PROFILE = str(ROOT / "config/fastdds.xml")


def has_wheels():
    names = {d.metadata["Name"] for d in importlib.metadata.distributions()}
    return "ros-jazzy-rclpy" in names


wheels_only = pytest.mark.skipif(not has_wheels(), reason="ROS 2 is sourced here, not wheels")


def run(*command, **environment):
    given = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **environment}
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=60)


def make_prefix(folder):
    (folder / "share/rclpy").mkdir(parents=True)
    return folder


def test_sourced_ros_is_one_that_is_not_ours(tmp_path, monkeypatch):
    ours, theirs = make_prefix(tmp_path / "venv"), make_prefix(tmp_path / "jazzy")
    empty = tmp_path / "overlay"
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{empty}:{ours}")
    assert tool.find_sourced_ros(ours) is None
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{empty}:{ours}:{theirs}")
    assert tool.find_sourced_ros(ours) == str(theirs)
    monkeypatch.delenv("ROS_DISTRO")
    assert tool.find_sourced_ros(ours) is None


def test_step_is_done_again_when_a_file_changed(tmp_path):
    source = tmp_path / "a.msg"
    source.write_text("uint8 a")
    environment = tool.Environment(tmp_path, None)
    assert not environment.is_current("interfaces", source, "word")
    environment.keep("interfaces", source, "word")
    assert environment.is_current("interfaces", source, "word")
    assert not environment.is_current("interfaces", source, "other word")
    source.write_text("uint8 b")
    assert not environment.is_current("interfaces", source, "word")


def test_unsupported_python_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setattr(tool, "SUPPORTED", ((3, 98), (3, 99)))
    with pytest.raises(SystemExit, match=r"make env PYTHON="):
        tool.check_machine(None)


def test_missing_compiler_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SystemExit, match="apt install cmake"):
        tool.check_machine(None)


def test_ros_of_another_python_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(SystemExit, match=r"/opt/ros/jazzy.*PYTHON=/usr/bin/python3\.12"):
        tool.check_machine("/opt/ros/jazzy")


def test_requirements_are_those_of_core_and_of_what_tests_need():
    found = tool.requirements()
    assert any(line.startswith("torch") for line in found)
    assert any(line.startswith("mujoco") for line in found)
    assert any(line.startswith("pytest") for line in found)
    assert any(line.startswith("ray") for line in found)
    assert not any(line.startswith("rerun") for line in found)


def test_activation_is_written_once_however_often(tmp_path):
    script = tmp_path / "bin/activate"
    script.parent.mkdir()
    script.write_text("VIRTUAL_ENV=x\n")
    activation.hook_shell(tmp_path, wheels=True)
    first = script.read_text()
    activation.hook_shell(tmp_path, wheels=True)
    assert script.read_text() == first
    assert first.startswith("VIRTUAL_ENV=x\n")
    assert first.count(activation.BEGIN) == 1


@wheels_only
@pytest.mark.parametrize("shell", ["bash", "sh"])
@pytest.mark.parametrize("times", [1, 2])
def test_activated_shell_has_what_ros_needs_once(shell, times):
    activate = " && ".join([f". {VENV}/bin/activate"] * times)
    result = run(shell, "-eu", "-c", f"{activate} && env && python -c 'import dm0_ros.msg, rclpy'")
    assert result.returncode == 0, result.stderr
    variables = dict(line.split("=", 1) for line in result.stdout.splitlines() if "=" in line)
    assert variables["AMENT_PREFIX_PATH"] == str(VENV)
    assert variables["LD_LIBRARY_PATH"].split(":").count(str(VENV / "lib")) == 1
    assert variables["FASTRTPS_DEFAULT_PROFILES_FILE"] == PROFILE


def test_profile_of_the_user_wins():
    command = f". {VENV}/bin/activate && echo $FASTRTPS_DEFAULT_PROFILES_FILE"
    result = run("bash", "-c", command, FASTRTPS_DEFAULT_PROFILES_FILE="/mine.xml")
    assert result.stdout.strip() == "/mine.xml"


@wheels_only
@pytest.mark.parametrize(
    "inherited",
    [{}, {"_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1"}, {"LD_LIBRARY_PATH": "/workspace/lib"}],
)
def test_bare_python_imports_ros_whatever_it_inherits(inherited):
    program = (
        "import os, sys, rclpy, dm0_ros.msg; print(sys.argv[1], os.environ['LD_LIBRARY_PATH'],"
        " os.environ['FASTRTPS_DEFAULT_PROFILES_FILE'])"
    )
    result = run(str(VENV / "bin/python"), "-c", program, "an argument", **inherited)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("an argument ")
    assert result.stdout.split()[-1] == PROFILE
    libraries = result.stdout.split()[-2].split(":")
    assert str(VENV / "lib") in libraries
    if "LD_LIBRARY_PATH" in inherited:
        assert libraries[0] == "/workspace/lib"
