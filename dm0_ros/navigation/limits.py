# SPDX-License-Identifier: Apache-2.0
"""The velocity and acceleration limits of a base."""

import numpy as np

from dm0_ros.robots.base import Base


def approach_twist(twist: np.ndarray, wanted: np.ndarray, base: Base, dt: float) -> np.ndarray:
    """The velocities (3,) after ``dt`` s on the way from ``twist`` to ``wanted``, within limits.

    Velocities are scaled, so that the direction stays; the turn has limits of its own.
    """
    wanted = np.array(wanted, float)
    speed = np.linalg.norm(wanted[:2])
    wanted[:2] *= min(1.0, base.velocity / speed) if speed else 1.0
    wanted[2] = np.clip(wanted[2], -base.turn_velocity, base.turn_velocity)
    change = wanted - twist
    size = np.linalg.norm(change[:2])
    change[:2] *= min(1.0, base.acceleration * dt / size) if size else 1.0
    change[2] = np.clip(change[2], -base.turn_acceleration * dt, base.turn_acceleration * dt)
    return twist + change
