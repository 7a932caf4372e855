# SPDX-License-Identifier: Apache-2.0
"""How a robot is driven: its controllers, and how the executor treats them."""

from dataclasses import dataclass
from enum import Enum

from dm0_ros.errors import RobotError
from dm0_ros.robots.checks import require_not_negative, require_positive


class SinkKind(str, Enum):
    """The kinds of message that the executor can drive a controller with."""

    JOINT_TRAJECTORY = "joint_trajectory"
    FORWARD_POSITION = "forward_position"
    FOLLOW_JOINT_TRAJECTORY = "follow_joint_trajectory"
    POSE = "pose"
    TWIST = "twist"
    TWIST_STAMPED = "twist_stamped"
    GRIPPER_COMMAND = "gripper_command"
    PARALLEL_GRIPPER_COMMAND = "parallel_gripper_command"


@dataclass(frozen=True)
class Sink:
    """One controller: its topic or action, and the names of what it takes, in its order.

    Names are those of joints and grippers; for poses and twists that of one end effector, for the
    actions of grippers that of one gripper.
    """

    kind: SinkKind
    topic: str
    names: tuple[str, ...]
    threshold: float = 0.002  # m: an action is told of a moving gripper's changes above this
    effort: float = 0.0  # N, of an action; 0: the driver's own

    def __post_init__(self) -> None:
        if not self.names:
            raise RobotError(f"{self.topic} drives nothing; name what it takes", key=("names",))
        require_not_negative(self, "threshold", "effort")


@dataclass(frozen=True)
class SpeedScaling:
    """Where a robot says how much of its speed is allowed; a Float64."""

    topic: str
    full: float = 1.0  # value that means full speed; 100 where it comes in percent

    def __post_init__(self) -> None:
        require_positive(self, "full")


@dataclass(frozen=True)
class ExecutorSettings:
    """How the executor treats this robot."""

    rate: float  # Hz of commands
    max_first_distance: float  # rad: a plan that starts further away is refused
    blend_time: float  # s over which a new plan takes over from the old one
    state_timeout: float  # s without joint states after which the executor holds
    plan_timeout: float = 0.0  # s: a plan whose observation is older is left; 0: never
    approach: bool = False  # move slowly to a first row that is too far, instead of refusing
    observation_latency: float = 0.0  # s from what a picture shows to the stamp it gets
    actuation_latency: float = 0.0  # s from a command to the arm's motion
    gripper_latency: float = 0.0  # s from a command to the gripper's motion

    def __post_init__(self) -> None:
        require_positive(self, "rate", "max_first_distance", "state_timeout")
        require_not_negative(self, "blend_time", "plan_timeout")
        require_not_negative(self, "observation_latency", "actuation_latency", "gripper_latency")
