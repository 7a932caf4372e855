# SPDX-License-Identifier: Apache-2.0
"""Inverse kinematics of a chain by damped least squares."""

from collections.abc import Mapping

import numpy as np
import pinocchio

from dm0_ros.errors import RobotError
from dm0_ros.robots.kinematics import Chain
from dm0_ros.robots.spec import Joint

_DAMPING = 1e-3
_MAX_ITERATIONS = 100


def solve(
    chain: Chain,
    joints: tuple[Joint, ...],
    target: np.ndarray,
    start: Mapping[str, float],
    tolerance: float = 1e-5,
) -> dict[str, float]:
    """Joint positions (rad) that bring the chain's tip to ``target`` (4, 4), near ``start``.

    Newton steps with damping (Levenberg-Marquardt's form of the least-squares step), clipped to
    the joints' limits. ``tolerance`` is in m and rad. Raises `RobotError` where the target cannot
    be reached.
    """
    lower = np.array([joint.lower for joint in joints])
    upper = np.array([joint.upper for joint in joints])
    names = [joint.name for joint in joints]
    if tuple(names) != chain.joint_names:
        raise RobotError(f"limits of {', '.join(chain.joint_names)} are needed, in this order")
    positions = np.array([start[name] for name in names])
    for _ in range(_MAX_ITERATIONS):
        error = pose_error(target, chain.pose_at(positions))
        if np.linalg.norm(error) < tolerance:
            return {name: float(value) for name, value in zip(names, positions, strict=True)}
        jacobian = chain.jacobian_at(positions)
        normal = jacobian @ jacobian.T + _DAMPING * np.eye(6) * np.linalg.norm(error)
        positions = positions + jacobian.T @ np.linalg.solve(normal, error)
        positions = np.clip(positions, lower, upper)
    raise RobotError(
        f"no joint positions bring {chain.tip} to {np.round(target[:3, 3], 3)} m in {chain.base}: "
        f"{np.linalg.norm(error[:3]) * 1e3:.1f} mm are left"
    )


def pose_error(target: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Difference (6,) from ``pose`` to ``target``: m, then a rotation vector in rad."""
    turn = pinocchio.log3(target[:3, :3] @ pose[:3, :3].T)
    return np.concatenate([target[:3, 3] - pose[:3, 3], turn])
