# SPDX-License-Identifier: Apache-2.0
"""Where a plan takes the tool, row by row, whatever space the plan is in."""

import numpy as np
import pinocchio

from dm0_ros.control import Chunk
from dm0_ros.control.pose import read_plan
from dm0_ros.errors import PlanError
from dm0_ros.robots import RobotSpec
from dm0_ros.robots.kinematics import Chain, load_urdf
from dm0_ros.robots.spec import Space


class ToolPath:
    """Of the robot's first end effector."""

    def __init__(self, robot: RobotSpec) -> None:
        """Raises `RobotError` where the robot's URDF has no such chain."""
        urdf, arm = load_urdf(robot), robot.end_effectors[0]
        self._arms = [end.name for end in robot.end_effectors]
        self._grippers = robot.gripper_names
        self._chain = Chain(urdf, arm.base, arm.tool)
        tip = Chain(urdf, arm.base, arm.tip).pose(robot.home)
        self._reach = (np.linalg.inv(tip) @ self._chain.pose(robot.home))[:3, 3]  # m, in the tip

    def find(self, chunk: Chunk) -> np.ndarray:
        """The tool's places (H, 3), m, in the arm's base.

        Raises `PlanError` where columns are missing or make no sense.
        """
        if chunk.space is Space.EEF_POSE:
            rows = read_plan(chunk, self._arms, self._grippers).arms[0]
            turns = (pinocchio.Quaternion(turn) for turn in rows.quaternions)
            return rows.positions + np.stack([turn * self._reach for turn in turns])
        missing = [name for name in self._chain.joint_names if name not in chunk.names]
        if missing:
            raise PlanError(f"the plan has no column {', '.join(missing)}")
        rows = (dict(zip(chunk.names, row, strict=True)) for row in chunk.values)
        return np.stack([self._chain.pose(row)[:3, 3] for row in rows])
