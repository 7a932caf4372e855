# SPDX-License-Identifier: Apache-2.0
"""What a robot is made of: joints, grippers, end effectors, cameras, and its URDF."""

from dataclasses import dataclass, field
from enum import Enum

from dm0_ros.errors import RobotError
from dm0_ros.robots.checks import require_not_negative, require_positive


@dataclass(frozen=True)
class Units:
    """What the numbers of the file are in: m, rad and s.

    Nothing is converted. A file has to say so that whoever writes degrees or millimetres notices.
    """

    length: str
    angle: str
    time: str

    def __post_init__(self) -> None:
        for key, unit in (("length", "m"), ("angle", "rad"), ("time", "s")):
            found = getattr(self, key)
            if found != unit:
                raise RobotError(
                    f"the unit is {found}; convert the file's numbers to {unit} and write {unit}",
                    key=(key,),
                )


@dataclass(frozen=True)
class Joint:
    """One moving joint and its limits: rad, rad/s, rad/s2, rad/s3."""

    name: str
    lower: float
    upper: float
    velocity: float
    acceleration: float
    jerk: float

    def __post_init__(self) -> None:
        if not self.lower < self.upper:
            raise RobotError(
                f"{self.name} reaches from {self.lower:g} to {self.upper:g}; lower must be below "
                "upper",
                key=("lower",),
            )
        require_positive(self, "velocity", "acceleration", "jerk")


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

    def __post_init__(self) -> None:
        if not self.closed < self.open:
            raise RobotError(
                f"{self.name} opens from {self.closed:g} to {self.open:g} m; closed must be below "
                "open",
                key=("closed",),
            )
        require_positive(self, "velocity", "opening_per_joint")
        require_not_negative(self, "hysteresis")


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

    def __post_init__(self) -> None:
        require_positive(self, "max_age")


@dataclass(frozen=True)
class Description:
    """The URDF of the robot: a file in urdf/ and the arguments of its xacro."""

    file: str
    arguments: dict[str, str] = field(default_factory=dict)
