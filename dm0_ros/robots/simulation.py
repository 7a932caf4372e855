# SPDX-License-Identifier: Apache-2.0
"""What a simulator needs to know about a robot beyond its URDF."""

from dataclasses import dataclass

import numpy as np

from dm0_ros.errors import RobotError
from dm0_ros.robots.checks import require_positive


@dataclass(frozen=True)
class SimulatedCamera:
    """Where the simulator puts a camera. ``link`` absent: fixed in the base frame."""

    width: int
    height: int
    field_of_view: float  # rad, vertical
    position: tuple[float, float, float]
    target: tuple[float, float, float]  # point looked at, in the same frame
    up: tuple[float, float, float] = (0.0, 0.0, 1.0)
    link: str | None = None

    def __post_init__(self) -> None:
        require_positive(self, "width", "height", "field_of_view")
        forward = np.subtract(self.target, self.position)
        if np.linalg.norm(np.cross(forward, self.up)) < 1e-6:
            raise RobotError(
                "up lies along the line to the target, or position and target are one point: "
                "the picture has no upright; choose another up",
                key=("up",),
            )


@dataclass(frozen=True)
class Simulation:
    """What a simulator needs beyond the URDF."""

    world: str  # file stem in config/worlds/
    physics_step: float  # s
    stiffness: dict[str, float]  # N m/rad (N/m for a gripper) of the position servo, by joint
    damping: dict[str, float]  # N m s/rad
    cameras: dict[str, SimulatedCamera]
    camera_rate: float  # Hz

    def __post_init__(self) -> None:
        require_positive(self, "physics_step", "camera_rate")
