# SPDX-License-Identifier: Apache-2.0
"""Every URDF is a tree of bodies that could exist, by the rules of urdfdom and of mechanics."""

import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from dm0_ros.resources import find_resource, list_resources
from dm0_ros.robots import load_robot
from dm0_ros.robots.description import find_root, load_urdf

NAMES = [
    name.removesuffix(".yaml")
    for name in list_resources("config", ".yaml")
    if "\nname:" in find_resource("config", name).read_text()
]
ROBOTS = {name: load_urdf(load_robot(name)) for name in NAMES}
ARM = """
<robot name="a">
  <link name="base"/>
  <link name="upper">
    <inertial>
      <mass value="2.0"/>
      <inertia ixx="0.02" iyy="0.03" izz="0.04" ixy="0.001" ixz="0" iyz="0"/>
    </inertial>
  </link>
  <joint name="elbow" type="revolute">
    <parent link="base"/>
    <child link="upper"/>
    <axis xyz="0 0 1"/>
    <limit lower="-1" upper="1" velocity="2" effort="3"/>
  </joint>
</robot>
"""


def problems(text):
    """What is wrong with a URDF: names, tree, limits, masses."""
    root = ElementTree.fromstring(text)
    links = [link.get("name") for link in root.findall("link")]
    joints = root.findall("joint")
    names = [joint.get("name") for joint in joints]
    found = [f"{name} twice" for name in {*links} if links.count(name) > 1]
    found += [f"{name} twice" for name in {*names} if names.count(name) > 1]
    parents = {}
    for joint in joints:
        parent, child = (joint.find(end).get("link") for end in ("parent", "child"))
        found += [f"no link {link}" for link in (parent, child) if link not in links]
        if child in parents:
            found.append(f"{child} has two parents")
        parents[child] = parent
        if joint.get("type") not in ("fixed", "continuous"):
            found += _limits(joint)
        if joint.get("type") != "fixed":
            found += _axis(joint) + _masses(root, child)
    roots = [link for link in links if link not in parents]
    if len(roots) != 1:
        found.append(f"{len(roots)} roots")
    for link in links:
        path = [link]
        while (above := parents.get(path[-1])) is not None and above not in path:
            path.append(above)
        if path[-1] in parents and above is not None:
            found.append(f"{link} hangs in a circle")
    return found + [p for link in links if _inertial(root, link) is not None
                    for p in _masses(root, link)]  # fmt: skip


def _limits(joint):
    limit, name = joint.find("limit"), joint.get("name")
    if limit is None:
        return [f"{name} has no limits"]
    lower, upper, speed, effort = (
        float(limit.get(key, "nan")) for key in ("lower", "upper", "velocity", "effort")
    )
    good = lower < upper and speed > 0 and effort > 0
    return [] if good else [f"{name}: limits {lower} {upper} {speed} {effort}"]


def _axis(joint):
    axis = np.array(joint.find("axis").get("xyz").split(), float)
    return [] if abs(np.linalg.norm(axis) - 1) < 1e-9 else [f"{joint.get('name')}: axis {axis}"]


def _inertial(root, name):
    (link,) = [link for link in root.findall("link") if link.get("name") == name][:1] or [None]
    return None if link is None else link.find("inertial")


def _masses(root, name):
    """A body's moments about its own axes: each positive, none above the sum of the others."""
    inertial = _inertial(root, name)
    if inertial is None:
        return [f"{name} moves and has no mass"]
    mass, inertia = float(inertial.find("mass").get("value")), inertial.find("inertia")
    xx, yy, zz, xy, xz, yz = (
        float(inertia.get(key)) for key in ("ixx", "iyy", "izz", "ixy", "ixz", "iyz")
    )
    moments = np.linalg.eigvalsh([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    if mass <= 0 or moments[0] <= 0 or moments[2] > moments[0] + moments[1] + 1e-12:
        return [f"{name}: mass {mass}, moments {moments}"]
    return []


@pytest.mark.parametrize("name", NAMES)
def test_every_urdf_is_a_tree_of_bodies_that_could_exist(name):
    assert problems(ROBOTS[name]) == []


@pytest.mark.parametrize("name", NAMES)
def test_check_urdf_is_content(name, tmp_path):
    """The tool of ROS; it comes with urdfdom, which pinocchio brings along."""
    tool = shutil.which("check_urdf", path=str(Path(sys.executable).parent))
    tool = tool or shutil.which("check_urdf")
    if tool is None:
        pytest.skip("check_urdf is not installed")
    path = tmp_path / "robot.urdf"
    path.write_text(ROBOTS[name])
    result = subprocess.run([tool, path], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "Successfully Parsed XML" in result.stdout and not result.stderr


def test_a_good_arm_has_no_problem():
    assert problems(ARM) == []


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ('<link name="base"/>', "", "no link base"),
        ('<link name="base"/>', '<link name="base"/><link name="spare"/>', "2 roots"),
        ('<link name="base"/>', '<link name="base"/><link name="base"/>', "base twice"),
        ('<parent link="base"/>', '<parent link="upper"/>', "upper hangs in a circle"),
        ("<limit", "<limits", "elbow has no limits"),
        ('lower="-1"', 'lower="1"', "elbow: limits 1.0 1.0 2.0 3.0"),
        (' effort="3"', "", "elbow: limits -1.0 1.0 2.0 nan"),
        ("0 0 1", "0 1 1", "elbow: axis [0. 1. 1.]"),
        ('value="2.0"', 'value="0"', "upper: mass 0.0"),
        ('ixy="0.001"', 'ixy="0.1"', "upper: mass 2.0, moments [-0.07"),
        ('izz="0.04"', 'izz="0.4"', "upper: mass 2.0, moments [0.01"),
    ],
)
def test_each_problem_is_found(old, new, found):
    assert any(problem.startswith(found) for problem in problems(ARM.replace(old, new)))


@pytest.mark.parametrize(("name", "root"), [("franka", "fr3_link0"), ("aloha", "base_link")])
def test_the_root_is_the_link_that_hangs_on_no_joint(name, root):
    assert find_root(ROBOTS[name]) == root
