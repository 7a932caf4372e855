# SPDX-License-Identifier: Apache-2.0
"""The paths that the overlay draws: the same for plans of joints and of poses, for every arm."""

import numpy as np
import pytest
from pose_samples import ARMS, POSE, ROBOTS, chunk_of, home, loop, robots, row_of

from dm0_ros.control.plan import Chunk
from dm0_ros.control.tool_path import ToolPaths
from dm0_ros.errors import PlanError
from dm0_ros.robots import load_robot
from dm0_ros.robots.kinematics import Chain, load_urdf
from dm0_ros.robots.spec import Space


@robots
def test_joints_and_poses_of_one_motion_lead_the_tool_alike(robot):
    spec, arm = ROBOTS[robot], ARMS[robot]
    random = np.random.default_rng(4)
    joints = home(robot) + np.append(
        random.uniform(-0.5, 0.5, (20, len(arm.names))), [[0]] * 20, 1
    )
    names = spec.column_names[::-1]
    plan = Chunk(7.0, 0.1, Space.JOINT_POSITION, names, joints[:, ::-1], 4, 2)
    poses = chunk_of(robot, [row_of(arm.chain.pose_at(row[:-1])) for row in joints])
    one, other = ToolPaths(spec).find(plan)[0], ToolPaths(spec).find(poses)[0]
    end = spec.end_effectors[0]
    tool = Chain(load_urdf(spec), end.base, end.tool)
    np.testing.assert_allclose(one, [tool.pose_at(row[:-1])[:3, 3] for row in joints], atol=1e-9)
    np.testing.assert_allclose(other, one, atol=1e-6)


def test_what_is_missing_is_named():
    path, plan = ToolPaths(ROBOTS["ur5"]), loop("ur5", rows=3)
    with pytest.raises(PlanError, match="lacks z"):
        path.find(Chunk(7.0, 0.1, plan.space, ("x", "y", "q", *POSE[3:], "g"), plan.values, 4, 2))
    with pytest.raises(PlanError, match=r"no column .*elbow_joint"):
        path.find(Chunk(7.0, 0.1, Space.BASE_TWIST, ("vx", "vy", "wz"), np.zeros((2, 3)), 4, 2))


def test_the_paths_of_two_arms_are_seen_from_between_them():
    """In ALOHA's own frame, not in those of the arms' bases: 0.3 m to either side of it."""
    spec = load_robot("aloha")
    rows = np.array([[spec.home[name] for name in spec.column_names]] * 4)
    rows[:, spec.column_names.index("left_joint1")] += np.linspace(0.0, 0.3, 4)
    paths = ToolPaths(spec).find(
        Chunk(7.0, 0.1, Space.JOINT_POSITION, spec.column_names, rows, 4, 2)
    )
    assert paths.shape == (2, 4, 3) and ToolPaths(spec).frame == "base_link"
    np.testing.assert_allclose(paths[:, 0, 1], [0.3, -0.3], atol=1e-6)
    assert np.ptp(paths[1], axis=0).max() == 0 and paths[0, -1, 1] > 0.35
