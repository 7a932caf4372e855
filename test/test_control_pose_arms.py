# SPDX-License-Identifier: Apache-2.0
"""Plans of poses for two arms: a robot of two UR5s on one table, made here of the one in urdf/."""

import copy
import dataclasses
from xml.etree import ElementTree

import numpy as np
import pytest
from pose_samples import DEGREE, MILLIMETRE, POSE, ROBOTS, home_pose, line, loop, moved, row_of

from dm0_ros.control.certificate import certify
from dm0_ros.control.limits import Limits
from dm0_ros.control.plan import Chunk, Plan, interpolate
from dm0_ros.control.pose import PosePath, read_plan
from dm0_ros.control.pose_solver import PoseSolver
from dm0_ros.errors import PlanError, RobotError
from dm0_ros.robots.inverse import pose_error
from dm0_ros.robots.kinematics import Chain, load_urdf
from dm0_ros.robots.spec import Description, Space

ARMS = ("left", "right")
ONE = ROBOTS["ur5"]
FINGER = ONE.gripper_names[0]


def write_urdf(folder):
    """Every link and joint twice, with the arm's name before it, on links one metre apart."""
    single = ElementTree.fromstring(load_urdf(ONE))
    whole = ElementTree.Element("robot", name="twin")
    ElementTree.SubElement(whole, "link", name="table")
    whole.extend(single.findall("material"))
    for arm, y in zip(ARMS, (0.5, -0.5), strict=True):
        mount = ElementTree.SubElement(whole, "joint", name=f"{arm}_mount", type="fixed")
        ElementTree.SubElement(mount, "parent", link="table")
        ElementTree.SubElement(mount, "child", link=f"{arm}_base_link")
        ElementTree.SubElement(mount, "origin", xyz=f"0 {y} 0", rpy="0 0 0.4")
        for part in copy.deepcopy([*single.findall("link"), *single.findall("joint")]):
            part.set("name", f"{arm}_{part.get('name')}")
            for end in ("parent", "child"):
                if (other := part.find(end)) is not None:
                    other.set("link", f"{arm}_{other.get('link')}")
            if (other := part.find("mimic")) is not None:
                other.set("joint", f"{arm}_{other.get('joint')}")
            whole.append(part)
    path = folder / "twin.urdf"
    ElementTree.ElementTree(whole).write(path)
    return str(path)


def twice(items, **names):
    """Each of the items for both arms, with the arm's name before what `names` lists."""
    return tuple(
        dataclasses.replace(item, **{key: f"{arm}_{getattr(item, key)}" for key in names})
        for arm in ARMS
        for item in items
    )


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """The robot; its joints are those of the right arm first, unlike its end effectors."""
    path = write_urdf(tmp_path_factory.mktemp("twin"))
    ends = twice(ONE.end_effectors, base=..., tip=..., tool=...)
    ends = tuple(dataclasses.replace(e, name=n) for e, n in zip(ends, ARMS, strict=True))
    joints = twice(ONE.joints, name=...)
    return dataclasses.replace(
        ONE,
        name="twin",
        urdf=Description(path),
        joints=joints[len(ONE.joints) :] + joints[: len(ONE.joints)],
        grippers=twice(ONE.grippers, name=...),
        end_effectors=ends,
        home={f"{arm}_{name}": value for arm in ARMS for name, value in ONE.home.items()},
        layouts={},
        sinks=(),
        simulation=None,
    )


def names_of(arm):
    return tuple(f"{arm}_{name}" for name in (*POSE, FINGER))


def both(left, right):
    """Two plans of one arm as one of two, its columns mixed."""
    names = (*names_of("right"), *names_of("left"))
    values = np.hstack([right.values, left.values])
    order = np.random.default_rng(1).permutation(len(names))
    names = tuple(names[index] for index in order)
    return Chunk(7.0, left.step, Space.EEF_POSE, names, values[:, order], 4, 2)


def home_of(robot):
    return np.array([robot.home[name] for name in robot.column_names])


def check(robot, chunk, solution):
    """Both arms keep to their paths, in step, and every joint to its limits."""
    plan = read_plan(chunk, ARMS, robot.gripper_names)
    solved = solution.chunk
    assert solved.names == robot.column_names
    curve = interpolate(Plan(0, 0.0, solved.step, solved.values), len(robot.joints))
    assert not certify(curve).broken(Limits.from_robot(robot)).any()
    for end, rows in zip(robot.end_effectors, plan.arms, strict=True):
        chain = Chain(load_urdf(robot), end.base, end.tip)
        columns = [robot.joint_names.index(name) for name in chain.joint_names]
        path = PosePath(rows, chunk.step)
        for time, row in zip(solution.plan_times[:-1], solved.values, strict=False):
            error = pose_error(path.pose(time), chain.pose_at(row[columns]))
            assert np.linalg.norm(error[:3]) < MILLIMETRE
            assert np.linalg.norm(error[3:]) < 0.2 * DEGREE
        error = pose_error(path.pose(path.end), chain.pose_at(curve.rest[columns]))
        assert np.linalg.norm(error[:3]) < MILLIMETRE


def test_each_arm_follows_its_own_path(twin):
    chunk = both(loop("ur5", rows=60), line("ur5", [0.05, 0.1, 0.1], [0, 0, 0.3]))
    solution = PoseSolver(twin).solve(chunk, home_of(twin))
    check(twin, chunk, solution)
    assert solution.delay == 0
    openings = solution.chunk.values[:, -2:]
    np.testing.assert_allclose(openings, 0.02)


def test_where_one_arm_has_to_slow_down_the_other_waits(twin):
    """Past the axis of its first joint, the right one cannot be as fast."""
    still = line("ur5", [0.1, 0.1, 0.1], rows=45)
    hard = line("ur5", [0.97, 0.01, 0.2], rows=45)
    solution = PoseSolver(twin).solve(both(still, hard), home_of(twin))
    check(twin, both(still, hard), solution)
    assert solution.delay > 0.1
    assert any(one.startswith("right_shoulder_pan_joint") for one in solution.limited)
    assert not any(one.startswith("left_") for one in solution.limited)


def test_the_arm_that_cannot_get_there_is_named(twin):
    far = line("ur5", [-0.6, 0, 0])
    with pytest.raises(PlanError, match=r"^left: row \d+ at \(-0.[78].* out of reach"):
        PoseSolver(twin).solve(both(far, loop("ur5", rows=60)), home_of(twin))


def test_columns_without_an_arm_are_refused(twin):
    pose = moved(home_pose("ur5"), [0, 0, 0])
    values = np.tile([*row_of(pose), 0.02], (3, 1))
    grippers = [f"{arm}_{FINGER}" for arm in ARMS]
    chunk = Chunk(7.0, 0.1, Space.EEF_POSE, (*POSE, *grippers), values, 4, 2)
    words = r"left, right: plan of poses has unknown column x, y, .* lacks left_x, left_y"
    with pytest.raises(PlanError, match=words):
        PoseSolver(twin).solve(chunk, home_of(twin))


def test_joints_that_two_end_effectors_share_are_refused(twin):
    left, _ = twin.end_effectors
    again = dataclasses.replace(left, name="right")
    with pytest.raises(RobotError, match=r"\(left, right\) gives set-points for left_shoulder"):
        PoseSolver(dataclasses.replace(twin, end_effectors=(left, again)))
