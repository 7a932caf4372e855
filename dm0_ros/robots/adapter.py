# SPDX-License-Identifier: Apache-2.0
"""Drivers that are not ros2_control's: their names and numbers, and those of the robot's YAML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from dm0_ros.errors import RobotError
from dm0_ros.robots.checks import require_known
from dm0_ros.robots.parts import Gripper


class AdapterKind(str, Enum):
    """What a driver takes and tells."""

    JOINT_STATE = "joint_state"  # sensor_msgs/JointState both ways: AgileX's piper_ros
    INTERBOTIX = "interbotix"  # JointGroupCommand and JointSingleCommand: interbotix_xs_sdk
    ARX = "arx"  # RobotCmd and RobotStatus: ARX's own controller
    GRIPPER_COMMAND = "gripper_command"  # control_msgs action of a gripper alone
    PARALLEL_GRIPPER_COMMAND = "parallel_gripper_command"


_GRIPPERS = (AdapterKind.GRIPPER_COMMAND, AdapterKind.PARALLEL_GRIPPER_COMMAND)


@dataclass(frozen=True)
class AdaptedGripper:
    """A gripper in the driver's terms: ``closed`` and ``open`` are its numbers; linear between."""

    name: str  # of the gripper in this YAML
    driver: str  # of the joint that the driver means
    closed: float
    open: float

    def __post_init__(self) -> None:
        if self.closed == self.open:
            raise RobotError(
                f"closed and open are both {self.closed:g}; write the driver's number for each"
            )


@dataclass(frozen=True)
class Adapter:
    """One driver: its topics (or action), and its names for what this YAML names."""

    kind: AdapterKind
    states: str
    commands: str = ""  # empty: it is told by a sink, only its names are others
    joints: dict[str, str] = field(default_factory=dict)  # ours -> the driver's, in its order
    gripper: AdaptedGripper | None = None

    def __post_init__(self) -> None:
        if not self.joints and self.gripper is None:
            raise RobotError("translates nothing; name joints or a gripper", key=("joints",))
        if self.kind in _GRIPPERS and (self.joints or self.gripper is None):
            raise RobotError(f"{self.kind.value} drives a gripper and no joints", key=("joints",))
        if self.kind is not AdapterKind.JOINT_STATE and not self.commands:
            raise RobotError(f"{self.kind.value} needs where to send commands", key=("commands",))

    @property
    def names(self) -> tuple[str, ...]:
        """Our names of what the driver drives."""
        return (*self.joints, *([self.gripper.name] if self.gripper else []))


class Translation:
    """Between a robot's names, rad and metres of opening, and those of one of its drivers."""

    def __init__(self, adapter: Adapter, grippers: Sequence[Gripper]) -> None:
        self._adapter = adapter
        name = adapter.gripper.name if adapter.gripper else ""
        self._gripper = next((one for one in grippers if one.name == name), None)

    def to_driver(self, values: Mapping[str, float]) -> dict[str, float]:
        """Joint positions (rad) and opening (m) by our names, as the driver's by its names."""
        told = {theirs: values[ours] for ours, theirs in self._adapter.joints.items()}
        if self._gripper:
            span = self._gripper.open - self._gripper.closed
            part = (values[self._gripper.name] - self._gripper.closed) / span
            theirs = self._adapter.gripper
            told[theirs.driver] = theirs.closed + part * (theirs.open - theirs.closed)
        return told

    def from_driver(self, values: Mapping[str, float]) -> dict[str, float]:
        """What the driver reports, by our names, as ``joint_states`` have it: rad, and the
        gripper by its joint. Names that the driver did not report are left out."""
        told = {
            ours: values[name] for ours, name in self._adapter.joints.items() if name in values
        }
        if self._gripper and self._adapter.gripper.driver in values:
            theirs, ours = self._adapter.gripper, self._gripper
            part = (values[theirs.driver] - theirs.closed) / (theirs.open - theirs.closed)
            opening = ours.closed + part * (ours.open - ours.closed)
            told[ours.name] = opening / ours.opening_per_joint
        return told


def check_adapters(
    adapters: Sequence[Adapter], joints: Sequence[str], grippers: Sequence[str]
) -> None:
    """Raises `RobotError` where an adapter names what the robot has not."""
    for index, adapter in enumerate(adapters):
        key = ("adapters", index)
        require_known(adapter.joints, joints, "joint", *key, "joints")
        if adapter.gripper and adapter.gripper.name not in grippers:
            raise RobotError(
                f"unknown gripper {adapter.gripper.name}; known: {', '.join(grippers)}",
                key=(*key, "gripper", "name"),
            )
