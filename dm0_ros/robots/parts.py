# SPDX-License-Identifier: Apache-2.0
"""What a robot is made of: joints, grippers, end effectors, cameras, and its URDF."""

from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True)
class Joint:
    """One moving joint and its limits: rad, rad/s, rad/s2, rad/s3."""

    name: str
    lower: float
    upper: float
    velocity: float
    acceleration: float
    jerk: float


class GripperMode(str, Enum):
    """What a gripper does between two rows of a plan."""

    LINEAR = "linear"  # goes straight from one to the next
    HOLD = "hold"  # stays until the next is due


@dataclass(frozen=True)
class Gripper:
    """A gripper, known by the joint name under which the driver reports it."""

    name: str
    closed: float  # m of opening
    open: float  # m of opening
    velocity: float  # m/s of opening
    opening_per_joint: float  # m of opening for 1 m of reported joint position
    mode: GripperMode = GripperMode.LINEAR
    hysteresis: float = 0.0  # m: smaller changes of the wanted opening are not obeyed


@dataclass(frozen=True)
class EndEffector:
    """The kinematic chain that a pose refers to, as link names of the URDF."""

    name: str
    base: str  # frame in which poses are given
    tip: str  # frame whose pose is given
    tool: str  # what touches things: drawn by the overlay


@dataclass(frozen=True)
class Camera:
    """One view. The order of the list in the YAML is the order of DM0's slots."""

    slot: str
    max_age: float  # s: older pictures are refused


@dataclass(frozen=True)
class Description:
    """The URDF of the robot: a file in urdf/ and the arguments of its xacro."""

    file: str
    arguments: dict[str, str] = field(default_factory=dict)
