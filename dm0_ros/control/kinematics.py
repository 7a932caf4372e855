# SPDX-License-Identifier: Apache-2.0
"""Differential inverse kinematics of one arm: small steps of the joints towards small steps of
the end effector, inside the joints' limits and damped near singularities."""

from dataclasses import dataclass

import numpy as np

from dm0_ros.errors import RobotError
from dm0_ros.robots.inverse import pose_error
from dm0_ros.robots.kinematics import Chain, load_urdf
from dm0_ros.robots.spec import EndEffector, RobotSpec

# Below this singular value of the Jacobian (m per rad and rad per rad) damping sets in.
_SINGULAR = 0.03
_DAMPING = 0.01  # at the singularity itself
_FADE = 0.01  # m, rad: corrections smaller than this are damped in proportion
_LARGEST_STEP = 0.3  # rad of one joint in one iteration: linearisation holds no further
_TOLERANCE = 1e-6  # m, rad: converged
_LEAST_CAUTION, _MOST_CAUTION = 1e-4, 1e4  # damping of steps that made it worse
# One relaxes by a factor e over this way of the tip, a radian counting like 0.3 m. Tied to the
# way and not to time, so that an arm that keeps its pose keeps its elbow too.
_RELAXATION = 0.5  # m
_RADIAN = 0.3  # m
_RESERVE = 0.002  # rad, at the ends of a joint's range: the spline through rows may pass them
_MARGIN = 0.15  # rad, before the end of a joint's range, in which it does less
# Where the nullspace begins: smaller singular values are no direction that the tip can move in.
_RANK = 1e-9


@dataclass(frozen=True)
class Place:
    """Joint positions (J,) and what they leave to the wanted pose (6,): m, then rad."""

    joints: np.ndarray
    error: np.ndarray

    def within(self, distance: float, angle: float) -> bool:
        """Whether the pose is reached to within ``distance`` (m) and ``angle`` (rad)."""
        return _norm(self.error[:3]) <= distance and _norm(self.error[3:]) <= angle


class Arm:
    """One arm of a robot: limits, forward and differential inverse kinematics. Pure.

    All arrays are in the order of ``names``, the moving joints from base to tip. ``lower`` and
    ``upper`` are the robot's limits but for a reserve of 2 mrad.
    """

    def __init__(self, robot: RobotSpec, end: EndEffector) -> None:
        """Raises `RobotError` where the chain has a joint that the YAML does not."""
        self.name = end.name
        self.chain = Chain(load_urdf(robot), end.base, end.tip)
        self.names = self.chain.joint_names
        joints = {joint.name: joint for joint in robot.joints}
        missing = [name for name in self.names if name not in joints]
        if missing:
            raise RobotError(
                f"{robot.name}: the URDF has {', '.join(missing)} between {end.base} and "
                f"{end.tip}; add it to joints"
            )
        limits = [joints[name] for name in self.names]
        self.lower = np.array([joint.lower for joint in limits]) + _RESERVE
        self.upper = np.array([joint.upper for joint in limits]) - _RESERVE
        self.velocity = np.array([joint.velocity for joint in limits])
        self.acceleration = np.array([joint.acceleration for joint in limits])
        self.preferred = np.array([robot.home[name] for name in self.names])

    def converge(self, joints: np.ndarray, target: np.ndarray, iterations: int) -> Place:
        """The nearest joint positions whose pose is ``target`` (4, 4), or comes close to it.

        Newton steps by damped least squares, with more damping (Levenberg and Marquardt's) where
        a step makes it worse. A joint that would leave its range stays at the end of it, and the
        others do what they can.
        """
        joints = np.clip(joints, self.lower, self.upper)
        best = Place(joints, pose_error(target, self.chain.pose_at(joints)))
        caution = 0.0
        for _ in range(iterations):
            size = _norm(best.error)
            if size < _TOLERANCE or caution > _MOST_CAUTION:
                break
            damping = _DAMPING**2 * min(1.0, size / _FADE)
            step = self._solve(best.joints, best.error, damping, caution)
            step *= min(1.0, _LARGEST_STEP / max(np.max(np.abs(step)), _TOLERANCE))
            joints = np.clip(best.joints + step, self.lower, self.upper)
            place = Place(joints, pose_error(target, self.chain.pose_at(joints)))
            if _norm(place.error) < size:
                best, caution = place, 0.1 * caution if caution > _LEAST_CAUTION else 0.0
            else:
                caution = max(_LEAST_CAUTION, 10.0 * caution)
        return best

    def follow(self, joints: np.ndarray, twist: np.ndarray, relax: bool = True) -> np.ndarray:
        """Joint velocities (J,) for a velocity of the tip (6,): m/s, rad/s, in the base.

        Where ``relax``, what the tip leaves free goes towards the robot's home, the faster the
        tip moves; else the joints move as little as possible.
        """
        if not relax:
            return self._solve(joints, twist, _DAMPING**2, 0.0)
        way = np.hypot(_norm(twist[:3]), _RADIAN * _norm(twist[3:]))
        posture = (self.preferred - joints) * (way / _RELAXATION)
        return self._solve(joints, twist, _DAMPING**2, 0.0, posture)

    def at_limit(self, joints: np.ndarray) -> list[str]:
        """Names of the joints that are at an end of their range."""
        at = (joints <= self.lower + _TOLERANCE) | (joints >= self.upper - _TOLERANCE)
        return [name for name, there in zip(self.names, at, strict=True) if there]

    def _solve(
        self,
        joints: np.ndarray,
        twist: np.ndarray,
        singular: float,
        caution: float,
        posture: np.ndarray | None = None,
    ) -> np.ndarray:
        """Joint motion for a tip motion; joints that it drives to the end of their range do less.

        Weighted least squares as by Chan and Dubey (1995): the others take over gradually, and
        wholly where the end is reached.
        """
        jacobian = self.chain.jacobian_at(joints)
        step = _pseudo_inverse(jacobian, twist, singular, caution, posture)
        low, high = (joints - self.lower) / _MARGIN, (self.upper - joints) / _MARGIN
        room = np.minimum(low, high)
        if np.min(room) >= 1:
            return step
        weights = np.ones(len(joints))
        while (pushed := (weights == 1) & (room < 1) & ((step < 0) == (low < high))).any():
            weights[pushed] = np.sqrt(np.maximum(room[pushed], 0.0))
            rest = None if posture is None else posture * weights
            step = weights * _pseudo_inverse(jacobian * weights, twist, singular, caution, rest)
        return step


def _pseudo_inverse(
    jacobian: np.ndarray,
    twist: np.ndarray,
    singular: float,
    caution: float,
    posture: np.ndarray | None,
) -> np.ndarray:
    """Damped least squares, and the part of ``posture`` that does not move the tip.

    Nakamura and Hanafusa's damping, by the smallest singular value: none in the open, and up to
    ``singular`` at a singularity, where the plain pseudo-inverse grows without bound. ``caution``
    is added everywhere. Both are squares of singular values.
    """
    left, values, right = np.linalg.svd(jacobian, full_matrices=False)
    near = max(0.0, 1.0 - (values[-1] / _SINGULAR) ** 2)
    damped = values / (values * values + near * singular + caution + _RANK**2)
    step = right.T @ (damped * (left.T @ twist))
    if posture is None:
        return step
    moving = right[values > _RANK]
    return step + posture - moving.T @ (moving @ posture)


def _norm(vector: np.ndarray) -> float:
    return float(np.sqrt(vector @ vector))
