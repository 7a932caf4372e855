# SPDX-License-Identifier: Apache-2.0
"""Where a plan takes the tools, row by row, whatever space the plan is in."""

import numpy as np
import pinocchio

from dm0_ros.control.plan import Rows
from dm0_ros.control.pose import PoseRows, read_plan
from dm0_ros.errors import PlanError
from dm0_ros.robots import RobotSpec
from dm0_ros.robots.description import find_root, load_urdf
from dm0_ros.robots.kinematics import Chain
from dm0_ros.robots.spec import EndEffector, Space


class ToolPaths:
    """Of every end effector, in ``frame``: the root of the robot's URDF."""

    def __init__(self, robot: RobotSpec) -> None:
        """Raises `RobotError` where the robot's URDF has no such chain."""
        urdf = load_urdf(robot)
        self.frame = find_root(urdf)
        self._arms = [end.name for end in robot.end_effectors]
        self._grippers = robot.gripper_names
        self._tools = [_Tool(urdf, self.frame, end, robot.home) for end in robot.end_effectors]

    def find(self, plan: Rows) -> np.ndarray:
        """The tools' places (A, H, 3), m, for A end effectors.

        Raises `PlanError` where columns are missing or make no sense.
        """
        if plan.space is Space.EEF_POSE:
            arms = read_plan(plan, self._arms, self._grippers).arms
            return np.stack([t.of_poses(rows) for t, rows in zip(self._tools, arms, strict=True)])
        missing = [n for tool in self._tools for n in tool.joint_names if n not in plan.names]
        if missing:
            raise PlanError(f"the plan has no column {', '.join(missing)}")
        rows = [dict(zip(plan.names, row, strict=True)) for row in plan.values]
        return np.stack([tool.of_joints(rows) for tool in self._tools])


class _Tool:
    def __init__(self, urdf: str, root: str, end: EndEffector, home: dict[str, float]) -> None:
        self._chain = Chain(urdf, end.base, end.tool)
        self._mount = Chain(urdf, root, end.base).pose(home)  # (4, 4): base in root
        tip = Chain(urdf, end.base, end.tip).pose(home)
        self._reach = (np.linalg.inv(tip) @ self._chain.pose(home))[:3, 3]  # m, in the tip

    @property
    def joint_names(self) -> tuple[str, ...]:
        return self._chain.joint_names

    def of_joints(self, rows: list[dict[str, float]]) -> np.ndarray:
        return self._place(np.stack([self._chain.pose(row)[:3, 3] for row in rows]))

    def of_poses(self, rows: PoseRows) -> np.ndarray:
        turns = (pinocchio.Quaternion(turn) for turn in rows.quaternions)
        return self._place(rows.positions + np.stack([turn * self._reach for turn in turns]))

    def _place(self, points: np.ndarray) -> np.ndarray:
        return points @ self._mount[:3, :3].T + self._mount[:3, 3]
