# SPDX-License-Identifier: Apache-2.0
"""`dm0 doctor` names what is missing and what to type, and never falls over itself."""

import subprocess
import sys
from collections import namedtuple

import pytest

from dm0_ros.commands import doctor
from dm0_ros.commands.doctor import Finding, State
from dm0_ros.errors import Dm0Error


def test_missing_profile_is_given_with_the_line_to_type(monkeypatch):
    monkeypatch.delenv("FASTRTPS_DEFAULT_PROFILES_FILE", raising=False)
    finding = doctor._check_profile()
    assert finding.state is State.OPTIONAL
    assert finding.remedy.startswith("export FASTRTPS_DEFAULT_PROFILES_FILE=/")
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", "/nowhere.xml")
    assert doctor._check_profile().state is State.MISSING


def test_full_disk_is_told(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage(1, 1, 1.0e9))
    assert doctor._check_disk().state is State.OPTIONAL


@pytest.mark.parametrize(("size", "state"), [(64e6, State.OPTIONAL), (1e9, State.GOOD)])
def test_small_shared_memory_is_told(monkeypatch, size, state):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage(size, 0, size))
    finding = doctor._check_shared_memory()
    assert finding.state is state
    assert ("--shm-size" in finding.remedy) == (state is State.OPTIONAL)


def test_python_too_old_is_told(monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 9, 1))
    finding = doctor._check_python()
    assert (finding.state, finding.found[:5]) == (State.MISSING, "3.9.1")
    assert "make env" in finding.remedy


@pytest.mark.parametrize(
    "error, remedy",
    [(Dm0Error("no such robot"), ""), (ImportError("no module rclpy"), doctor._SET_UP)],
)
def test_failed_check_is_a_finding(error, remedy):
    def fail():
        raise error

    finding = doctor._guard("robot", fail)
    assert finding == Finding("robot", State.MISSING, str(error), remedy)


def test_unknown_robot_and_checkpoint_are_missing():
    command = [sys.executable, "-m", "dm0_ros.cli", "doctor"]
    options = ["--robot", "nobody", "--checkpoint", "nothing"]
    result = subprocess.run(
        [*command, *options], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    rows = {line.split("│")[0].strip(): line for line in result.stdout.splitlines()}
    assert "missing" in rows["robot"]
    assert "nobody" in rows["robot"]
    assert "missing" in rows["checkpoint"]
    assert "good" in rows["Python"]


def test_broken_gl_is_found_in_a_process_of_its_own(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setattr(doctor, "_PROBE_GL", "import sys; sys.exit('no such library')")
    finding = doctor._check_gl()
    assert finding.state is State.OPTIONAL
    assert "no such library" in finding.found
