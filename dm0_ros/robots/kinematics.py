# SPDX-License-Identifier: Apache-2.0
"""Forward kinematics and Jacobian of a serial chain, from a robot's URDF, by pinocchio.

Frames are links of the URDF; poses are homogeneous matrices (4, 4); angles rad, lengths m.
"""

from collections.abc import Mapping

import numpy as np
import pinocchio

from dm0_ros.errors import RobotError
from dm0_ros.robots.description import load_urdf

__all__ = ["Chain", "load_urdf"]


class Chain:
    """The joints between two links of a URDF, root first. Not thread-safe.

    Raises `RobotError` where the URDF is broken, a link is unknown, the chain does not lead from
    base to tip, or a joint has not one position with limits.
    """

    def __init__(self, urdf: str, base: str, tip: str) -> None:
        self.base, self.tip = base, tip
        try:
            whole = pinocchio.buildModelFromXML(urdf)
        except (ValueError, RuntimeError) as cause:
            raise RobotError(f"pinocchio cannot read the URDF: {cause}") from cause
        self.joint_names = _walk(whole, base, tip)
        # what hangs on other joints does not move the tip, nor do joints above the base
        others = [i for i, name in enumerate(whole.names) if i and name not in self.joint_names]
        self._model = pinocchio.buildReducedModel(whole, others, pinocchio.neutral(whole))
        self._data = self._model.createData()
        self._tip = self._model.getFrameId(tip, pinocchio.BODY)
        still = self._model.frames[self._model.getFrameId(base, pinocchio.BODY)]
        self._from_root = still.placement.inverse()
        self._turn = np.kron(np.eye(2), self._from_root.rotation)

    def pose(self, positions: Mapping[str, float]) -> np.ndarray:
        """Pose (4, 4) of the tip in the base for joint positions by name (rad or m)."""
        return self.pose_at(self._arrange(positions))

    def jacobian(self, positions: Mapping[str, float]) -> np.ndarray:
        """Geometric Jacobian (6, J) of the tip: linear above angular velocity, in the base."""
        return self.jacobian_at(self._arrange(positions))

    def pose_at(self, joints: np.ndarray) -> np.ndarray:
        """As `pose`, for joint positions (J,) in the order of ``joint_names``."""
        pinocchio.forwardKinematics(self._model, self._data, joints)
        placement = pinocchio.updateFramePlacement(self._model, self._data, self._tip)
        return (self._from_root * placement).homogeneous

    def jacobian_at(self, joints: np.ndarray) -> np.ndarray:
        """As `jacobian`, for joint positions (J,) in the order of ``joint_names``."""
        return self._turn @ pinocchio.computeFrameJacobian(
            self._model, self._data, joints, self._tip, pinocchio.LOCAL_WORLD_ALIGNED
        )

    def _arrange(self, positions: Mapping[str, float]) -> np.ndarray:
        return np.array([positions[name] for name in self.joint_names], np.float64)


def euler_from_pose(pose: np.ndarray) -> np.ndarray:
    """Roll, pitch, yaw (3,) of a pose (4, 4): rad about fixed axes, x first; roll and yaw within
    [-pi, pi]."""
    return pinocchio.rpy.matrixToRpy(pose[:3, :3])


def _walk(model: pinocchio.Model, base: str, tip: str) -> tuple[str, ...]:
    """Names of the moving joints from base to tip."""
    for link in (base, tip):
        if not model.existFrame(link, pinocchio.BODY):
            raise RobotError(f"the URDF has no link '{link}'")
    frame, root = model.getFrameId(tip, pinocchio.BODY), model.getFrameId(base, pinocchio.BODY)
    names = []
    while frame != root:
        if frame == 0:
            raise RobotError(f"the URDF has no chain from link '{base}' to link '{tip}'")
        if model.frames[frame].type == pinocchio.JOINT:
            names.append(model.frames[frame].name)
        frame = model.frames[frame].parentFrame
    for name in names:
        if model.joints[model.getJointId(name)].nq != 1:
            raise RobotError(f"URDF joint '{name}': give it a type that has limits")
    return tuple(names[::-1])
