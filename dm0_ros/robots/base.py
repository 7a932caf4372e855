# SPDX-License-Identifier: Apache-2.0
"""A base that drives on a floor: how it moves, how fast, and what its driver wants to hear."""

from dataclasses import dataclass
from enum import Enum

from dm0_ros.errors import RobotError
from dm0_ros.robots.checks import require_positive


class Drive(str, Enum):
    """Which directions a base can drive in."""

    DIFFERENTIAL = "differential"  # ahead and back, and turning
    HOLONOMIC = "holonomic"  # sideways too


class VelocityMessage(str, Enum):
    """What the driver takes on cmd_vel: geometry_msgs/Twist, or TwistStamped."""

    TWIST = "twist"
    TWIST_STAMPED = "twist_stamped"


@dataclass(frozen=True)
class Wheels:
    """Two driven wheels beside each other; m."""

    radius: float
    separation: float  # between the planes of the wheels

    def __post_init__(self) -> None:
        require_positive(self, "radius", "separation")


@dataclass(frozen=True)
class Base:
    """One base. Its body is a disc; ahead is +x, left is +y, yaw turns left.

    Raises `RobotError` for a number that makes no sense.
    """

    drive: Drive
    radius: float  # m of the disc
    velocity: float  # m/s, in any direction
    turn_velocity: float  # rad/s
    acceleration: float  # m/s2
    turn_acceleration: float  # rad/s2
    command: VelocityMessage
    command_timeout: float  # s without a command after which the driver stops the base
    odometry_frame: str = "odom"
    frame: str = "base_link"
    wheels: Wheels | None = None

    def __post_init__(self) -> None:
        require_positive(self, "radius", "velocity", "turn_velocity", "command_timeout")
        require_positive(self, "acceleration", "turn_acceleration")
        if self.frame == self.odometry_frame:
            message = f"is {self.frame}, as frame is; name two frames"
            raise RobotError(message, key=("odometry_frame",))

    @property
    def holonomic(self) -> bool:
        """Whether it can drive sideways."""
        return self.drive is Drive.HOLONOMIC
