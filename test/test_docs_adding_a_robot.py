# SPDX-License-Identifier: Apache-2.0
"""docs/adding_a_robot.md does what it says: three files, no Python, and a sixth robot works."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from adding_a_robot import PAGE, program, write_files

from dm0_ros import bringup
from dm0_ros.errors import RobotError
from dm0_ros.resources import list_resources
from dm0_ros.robots import load_robot
from dm0_ros.robots.inverse import pose_error, solve
from dm0_ros.robots.kinematics import Chain, load_urdf
from dm0_ros.sim.simulator import Simulator


@pytest.fixture
def folder(tmp_path):
    """Holds kestrel/ with the page's files."""
    write_files(tmp_path)
    return tmp_path


def test_three_files_are_all(tmp_path):
    paths = write_files(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "kestrel/kestrel.yaml",
        "kestrel/kestrel.urdf.xacro",
        "kestrel/kestrel.launch.py",
    ]
    assert "kestrel.yaml" not in list_resources("config")


def test_it_loads_with_the_urdf_beside_it(folder):
    robot = load_robot(folder / "kestrel/kestrel.yaml")
    assert (robot.name, len(robot.joints), robot.camera_slots) == (
        "kestrel",
        6,
        ("right_hand", "left_hand"),
    )
    assert robot.urdf.file == str(folder / "kestrel/kestrel.urdf.xacro")


def test_kinematics_go_there_and_back(folder):
    robot = load_robot(folder / "kestrel/kestrel.yaml")
    chain = Chain(load_urdf(robot), "base_link", "tcp")
    assert chain.joint_names == robot.joint_names
    random = np.random.default_rng(3)
    for _ in range(20):
        near = {j.name: robot.home[j.name] + random.uniform(-0.3, 0.3) for j in robot.joints}
        target = chain.pose(near)
        found = chain.pose(solve(chain, robot.joints, target, robot.home))
        np.testing.assert_allclose(pose_error(target, found), 0.0, atol=1e-5)
    # straight up at zero, by the lengths in the URDF
    np.testing.assert_allclose(
        chain.pose_at(np.zeros(6))[:3, 3], [0, 0, 0.10 + 0.06 + 0.26 + 0.22 + 0.04 + 0.06 + 0.12]
    )


def test_check_urdf_is_content(folder):
    tool = shutil.which("check_urdf", path=str(Path(sys.executable).parent))
    tool = tool or shutil.which("check_urdf")
    if tool is None:
        pytest.skip("check_urdf is not installed")
    path = folder / "kestrel.urdf"
    path.write_text(load_urdf(load_robot(folder / "kestrel/kestrel.yaml")))
    result = subprocess.run([tool, path], capture_output=True, text=True)
    assert result.returncode == 0 and not result.stderr


def test_the_program_reaches_for_the_block(folder, monkeypatch):
    monkeypatch.chdir(folder)
    names = {}
    exec(compile(program(), str(PAGE), "exec"), names)
    robot, simulator, chain = names["robot"], names["simulator"], names["chain"]
    measured = simulator.measured()
    for name, wanted in names["positions"].items():
        assert measured[name] == pytest.approx(wanted, abs=0.03)
    assert measured["gripper"] == pytest.approx(robot.home["gripper"], abs=0.01)
    tip = chain.pose(measured)[:3, 3]
    assert np.linalg.norm(tip - simulator.object_pose("red")[:3]) < 0.05
    assert "red" in [touch.name for touch in simulator.touches]
    # Block, table and arm are there to be seen.
    picture = names["picture"]
    assert picture.shape == (336, 336, 3)
    reddish = (picture[..., 0] > 120) & (picture[..., 1:].max(axis=-1) < 60)
    orange = (picture[..., 0] > 150) & (abs(picture[..., 1] - 110.0) < 60)
    assert reddish.sum() > 50 and (orange & (picture[..., 2] < 80)).sum() > 500
    simulator.close()


def test_the_gripper_opens_and_closes(folder):
    robot = load_robot(folder / "kestrel/kestrel.yaml")
    simulator = Simulator(robot, seed=7)
    for width in (robot.grippers[0].open, robot.grippers[0].closed):
        simulator.command(["gripper"], [width])
        simulator.step(1.0)
        assert simulator.measured()["gripper"] == pytest.approx(width, abs=1e-3)


def test_the_message_that_the_page_shows_is_the_one_that_comes(folder, monkeypatch):
    monkeypatch.chdir(folder)
    path = Path("kestrel/kestrel.yaml")
    good = "name: elbow, lower: -0.2, upper: 2.7"
    text = path.read_text()
    assert good in text
    path.write_text(text.replace(good, "name: elbow, lower: 2.7, upper: -0.2"))
    with pytest.raises(RobotError) as caught:
        load_robot(path)
    (shown,) = re.findall(r"^dm0: (kestrel/.*)$", PAGE.read_text(), re.MULTILINE)
    assert str(caught.value) == shown


def test_the_graph_is_described_for_the_path(folder):
    path = str(folder / "kestrel/kestrel.yaml")
    graph = bringup.describe(path, sim="true")
    assert {process.parameters["robot"] for process in graph} == {path}


@pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None,
    reason="needs ROS 2's launch_ros; see docs/launch.md",
)
def test_the_launch_file_shows_its_arguments(folder):
    code = "import sys; from ros2cli.cli import main; sys.exit(main())"
    file = str(folder / "kestrel/kestrel.launch.py")
    result = subprocess.run(
        [sys.executable, "-c", code, "launch", file, "--show-args"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert result.returncode == 0, result.stderr
    assert f"(default: '{folder / 'kestrel/kestrel.yaml'}')" in result.stdout
