# SPDX-License-Identifier: Apache-2.0
"""The tool's path that the overlay draws is the same for a plan of joints and for one of poses."""

import numpy as np
import pytest
from pose_samples import ARMS, POSE, ROBOTS, chunk_of, home, loop, robots, row_of

from dm0_ros.control.plan import Chunk
from dm0_ros.errors import PlanError
from dm0_ros.nodes.tool_path import ToolPath
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
    one, other = ToolPath(spec).find(plan), ToolPath(spec).find(poses)
    end = spec.end_effectors[0]
    tool = Chain(load_urdf(spec), end.base, end.tool)
    np.testing.assert_allclose(one, [tool.pose_at(row[:-1])[:3, 3] for row in joints], atol=1e-9)
    np.testing.assert_allclose(other, one, atol=1e-6)


def test_what_is_missing_is_named():
    path, plan = ToolPath(ROBOTS["ur5"]), loop("ur5", rows=3)
    with pytest.raises(PlanError, match="lacks z"):
        path.find(Chunk(7.0, 0.1, plan.space, ("x", "y", "q", *POSE[3:], "g"), plan.values, 4, 2))
    with pytest.raises(PlanError, match=r"no column .*elbow_joint"):
        path.find(Chunk(7.0, 0.1, Space.BASE_TWIST, ("vx", "vy", "wz"), np.zeros((2, 3)), 4, 2))
