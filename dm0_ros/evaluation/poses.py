# SPDX-License-Identifier: Apache-2.0
"""How far end effectors are from where they were, in mm and degrees, for plans of any layout."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pinocchio

from dm0_ros.policy.protocol import Plan, PolicySpec
from dm0_ros.robots.inverse import pose_error
from dm0_ros.robots.kinematics import Chain, load_urdf
from dm0_ros.robots.poses import EULER, POSITION, QUATERNION, name_columns
from dm0_ros.robots.spec import RobotSpec, Space


class Poses:
    """The arms whose whole pose a policy's plans say: by joints or as columns.

    Poses are those of the arm's ``tip`` in its ``base``, as the robot's YAML has them.
    """

    def __init__(self, spec: PolicySpec, robot: RobotSpec) -> None:
        self._spec = spec
        every = [end.name for end in robot.end_effectors]
        urdf = load_urdf(robot) if every else ""
        self._chains: dict[str, Chain] = {}
        self._columns: dict[str, tuple[str, ...]] = {}
        for end in robot.end_effectors:
            chain = Chain(urdf, end.base, end.tip)
            columns = name_columns((*POSITION, *EULER), end.name, every)
            needed = columns if spec.space is Space.EEF_POSE else chain.joint_names
            if set(needed) <= set(spec.action_names):
                self._chains[end.name], self._columns[end.name] = chain, columns
        self._every = every
        self.arms = tuple(self._chains)
        self.joints = tuple(
            dict.fromkeys(name for chain in self._chains.values() for name in chain.joint_names)
        )

    def compare(self, rows: np.ndarray, joints: Mapping[str, np.ndarray]) -> np.ndarray:
        """(H, A, 2) mm and degrees from plan rows (H, D) to where joints (H,) put the arms; NaN
        where a joint is not known."""
        errors = np.full((len(rows), len(self.arms), 2), np.nan)
        for number, (name, chain) in enumerate(self._chains.items()):
            truth = np.stack([joints[joint] for joint in chain.joint_names], axis=1)
            for row in np.flatnonzero(np.isfinite(truth).all(axis=1)):
                planned = self._pose(name, chain, rows[row])
                apart = pose_error(planned, chain.pose_at(truth[row]))
                far, turned = np.linalg.norm(apart[:3]), np.linalg.norm(apart[3:])
                errors[row, number] = 1e3 * far, math.degrees(turned)
        return errors

    def _pose(self, arm: str, chain: Chain, row: np.ndarray) -> np.ndarray:
        """The pose (4, 4) that a row (D,) says."""
        names = self._spec.action_names
        if self._spec.space is not Space.EEF_POSE:
            return chain.pose_at(np.array([row[names.index(n)] for n in chain.joint_names]))
        x, y, z, *angles = (row[names.index(column)] for column in self._columns[arm])
        turn = pinocchio.rpy.rpyToMatrix(*angles)
        return pinocchio.SE3(turn, np.array([x, y, z])).homogeneous

    def read_angles(self, plan: Plan) -> np.ndarray:
        """A published plan's values (H, D) in the policy's columns: angles for quaternions."""
        values = np.empty((len(plan.values), len(self._spec.action_names)))
        written = {}
        for arm in self.arms:
            names = name_columns(QUATERNION, arm, self._every)
            turns = plan.values[:, [plan.names.index(name) for name in names]]
            angles = np.array([_find_angles(turn) for turn in turns])
            written |= zip(name_columns(EULER, arm, self._every), angles.T, strict=True)
        for column, name in enumerate(self._spec.action_names):
            known = written.get(name)
            values[:, column] = plan.values[:, plan.names.index(name)] if known is None else known
        return values


def _find_angles(turn: np.ndarray) -> np.ndarray:
    """Roll, pitch, yaw (3,) of a quaternion (4,) x y z w."""
    return pinocchio.rpy.matrixToRpy(
        pinocchio.Quaternion(*turn[[3, 0, 1, 2]]).normalized().matrix()
    )
