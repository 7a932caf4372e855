# SPDX-License-Identifier: Apache-2.0
"""What the package knows about one robot: names, limits, cameras, layouts, outputs.

A `RobotSpec` is the content of one ``config/<robot>.yaml``, checked. Nothing here knows ROS.
Units are SI and radians; gripper values are metres of opening between the fingers.
"""

from dataclasses import dataclass

from dm0_ros.errors import RobotError
from dm0_ros.robots.adapter import Adapter, check_adapters
from dm0_ros.robots.base import Base
from dm0_ros.robots.checks import require_all, require_known, require_once
from dm0_ros.robots.layouts import Layout, RawUnit, Space, check_columns
from dm0_ros.robots.outputs import ExecutorSettings, Sink, SinkKind, SpeedScaling
from dm0_ros.robots.parts import (
    Camera,
    Description,
    EndEffector,
    Gripper,
    GripperMode,
    Joint,
    Units,
)
from dm0_ros.robots.simulation import SimulatedCamera, Simulation

__all__ = [
    "Base",
    "Camera",
    "Description",
    "EndEffector",
    "ExecutorSettings",
    "Gripper",
    "GripperMode",
    "Joint",
    "Layout",
    "RawUnit",
    "RobotSpec",
    "SimulatedCamera",
    "Simulation",
    "Sink",
    "SinkKind",
    "Space",
    "SpeedScaling",
    "Units",
]


@dataclass(frozen=True)
class RobotSpec:
    """One robot. Raises `RobotError` where its parts contradict each other."""

    name: str
    title: str
    units: Units
    urdf: Description
    joints: tuple[Joint, ...]
    grippers: tuple[Gripper, ...]
    end_effectors: tuple[EndEffector, ...]
    home: dict[str, float]  # rad and m, by name
    cameras: tuple[Camera, ...]
    layouts: dict[str, Layout]
    sinks: tuple[Sink, ...]
    executor: ExecutorSettings
    simulation: Simulation | None = None
    speed_scaling: SpeedScaling | None = None
    base: Base | None = None
    adapters: tuple[Adapter, ...] = ()

    def __post_init__(self) -> None:
        _check_names(self)
        _check_home(self)
        for index, sink in enumerate(self.sinks):
            _check_sink(self, index, sink)
        arms = tuple(arm.name for arm in self.end_effectors)
        for name, layout in self.layouts.items():
            check_columns(
                name, layout, self.joint_names, self.gripper_names, arms, self.base is not None
            )
        if self.simulation:
            _check_simulation(self)
        check_adapters(self.adapters, self.joint_names, self.gripper_names)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names of the arm joints, in the robot's order."""
        return tuple(joint.name for joint in self.joints)

    @property
    def gripper_names(self) -> tuple[str, ...]:
        """Joint names of the grippers."""
        return tuple(gripper.name for gripper in self.grippers)

    @property
    def column_names(self) -> tuple[str, ...]:
        """Every commanded name: joints, then grippers."""
        return self.joint_names + self.gripper_names

    @property
    def camera_slots(self) -> tuple[str, ...]:
        """Names of the views in DM0's slot order."""
        return tuple(camera.slot for camera in self.cameras)

    def layout(self, name: str) -> Layout:
        """The layout of that name, or a `RobotError` that lists the known ones."""
        if name not in self.layouts:
            known = ", ".join(self.layouts)
            raise RobotError(f"{self.name}: has no layout '{name}'; its layouts are {known}")
        return self.layouts[name].with_strokes(self.grippers)


def _check_names(spec: RobotSpec) -> None:
    if not spec.joints and spec.base is None:
        raise RobotError("has nothing that moves; add joints or a base", key=("joints",))
    require_once(spec.joint_names, "joint", "joints")
    require_once(spec.gripper_names, "gripper", "grippers")
    require_once(spec.camera_slots, "camera slot", "cameras")
    require_once([arm.name for arm in spec.end_effectors], "end effector", "end_effectors")
    for index, name in enumerate(spec.gripper_names):
        if name in spec.joint_names:
            message = f"{name} is among the joints too; an arm's joint cannot be its gripper"
            raise RobotError(message, key=("grippers", index, "name"))


def _check_home(spec: RobotSpec) -> None:
    require_known(spec.home, spec.column_names, "joint or gripper", "home")
    require_all(spec.home, spec.column_names, "the position of", "home")
    ranges = {joint.name: (joint.lower, joint.upper) for joint in spec.joints}
    ranges |= {gripper.name: (gripper.closed, gripper.open) for gripper in spec.grippers}
    for name, (lower, upper) in ranges.items():
        if not lower <= spec.home[name] <= upper:
            raise RobotError(
                f"{spec.home[name]:g} is outside of the limits, {lower:g} to {upper:g}; correct "
                "one of them",
                key=("home", name),
            )


def _check_sink(spec: RobotSpec, index: int, sink: Sink) -> None:
    key = ("sinks", index, "names")
    known, what, alone = spec.column_names, "joint or gripper", False
    if sink.kind in (SinkKind.POSE, SinkKind.TWIST, SinkKind.TWIST_STAMPED):
        known, what, alone = tuple(arm.name for arm in spec.end_effectors), "end effector", True
    elif sink.kind in (SinkKind.GRIPPER_COMMAND, SinkKind.PARALLEL_GRIPPER_COMMAND):
        known, what, alone = spec.gripper_names, "gripper", True
    require_known(sink.names, known, what, *key)
    require_once(sink.names, what, *key)
    if alone and len(sink.names) != 1:
        raise RobotError(
            f"a {sink.kind.value} sink takes one {what}, not {len(sink.names)}; "
            "add one sink for each",
            key=key,
        )


def _check_simulation(spec: RobotSpec) -> None:
    key = ("simulation", "cameras")
    require_known(spec.simulation.cameras, spec.camera_slots, "camera slot", *key)
    for name in ("stiffness", "damping"):
        gains, key = getattr(spec.simulation, name), ("simulation", name)
        require_known(gains, spec.column_names, "joint or gripper", *key)
        require_all(gains, spec.column_names, "the gain of", *key)
