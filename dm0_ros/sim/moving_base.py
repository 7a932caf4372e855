# SPDX-License-Identifier: Apache-2.0
"""The base of a robot with arms in MuJoCo: it slides on the floor and turns, as velocities say."""

import mujoco
import numpy as np

from dm0_ros.errors import RobotError
from dm0_ros.navigation.limits import approach_twist
from dm0_ros.robots.base import Base
from dm0_ros.robots.layouts import BASE_COLUMNS

_JOINTS = ("base_x", "base_y", "base_yaw")
_STIFFNESS = 5000.0  # N s/m and N m s/rad of the velocity servos: a heavy base follows at once


def add_joints(scene: mujoco.MjSpec) -> None:
    """Let the robot's root, the scene's first body, move over the floor."""
    body = scene.worldbody.first_body()
    slide, hinge = mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE
    axes = ((slide, (1, 0, 0)), (slide, (0, 1, 0)), (hinge, (0, 0, 1)))
    for name, (kind, axis) in zip(_JOINTS, axes, strict=True):
        body.add_joint(name=name, type=kind, axis=axis)
        servo = scene.add_actuator(name=name, target=name)
        servo.trntype = mujoco.mjtTrn.mjTRN_JOINT
        servo.set_to_velocity(kv=_STIFFNESS)


class MovingBase:
    """Drives those joints of a compiled model within the base's limits."""

    def __init__(self, model: mujoco.MjModel, base: Base) -> None:
        self._base, self._dt = base, model.opt.timestep
        self._places = [model.joint(name).qposadr[0] for name in _JOINTS]
        self._servos = [model.actuator(name).id for name in _JOINTS]
        self.reset()

    def reset(self) -> None:
        """At rest, with nothing wanted."""
        self.twist = np.zeros(3)  # m/s ahead, m/s to the left, rad/s: what the servos are told
        self._wanted, self._waited = np.zeros(3), 0.0

    def command(self, name: str, value: float) -> None:
        """Set a wanted velocity by its column's name; it holds for the base's command_timeout.

        Raises `RobotError` for driving sideways with a base that cannot.
        """
        if name == "vy" and value and not self._base.holonomic:
            raise RobotError("simulator: this base cannot drive sideways; vy must be 0")
        self._wanted[BASE_COLUMNS.index(name)] = value
        self._waited = 0.0

    def drive(self, data: mujoco.MjData) -> None:
        """Tell the servos what the next physics step needs."""
        self._waited += self._dt
        wanted = self._wanted if self._waited <= self._base.command_timeout else np.zeros(3)
        self.twist = approach_twist(self.twist, wanted, self._base, self._dt)
        ahead, left, turn = self.twist
        yaw = data.qpos[self._places[2]]
        cosine, sine = np.cos(yaw), np.sin(yaw)
        velocities = [cosine * ahead - sine * left, sine * ahead + cosine * left, turn]
        data.ctrl[self._servos] = velocities

    def pose(self, data: mujoco.MjData) -> np.ndarray:
        """Where the base is (3,): m, m, rad, from where it started."""
        return data.qpos[self._places].copy()
