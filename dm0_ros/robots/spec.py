# SPDX-License-Identifier: Apache-2.0
"""What the package knows about one robot: names, limits, cameras, layouts, outputs.

A `RobotSpec` is the content of one ``config/<robot>.yaml``, checked. Nothing here knows ROS.
Units are SI and radians; gripper values are metres of opening between the fingers.
"""

from dataclasses import dataclass

from dm0_ros.errors import RobotError
from dm0_ros.robots.base import Base
from dm0_ros.robots.layouts import Layout, Space
from dm0_ros.robots.outputs import ExecutorSettings, Sink, SinkKind, SpeedScaling
from dm0_ros.robots.parts import Camera, Description, EndEffector, Gripper, GripperMode, Joint
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
    "RobotSpec",
    "SimulatedCamera",
    "Simulation",
    "Sink",
    "SinkKind",
    "Space",
    "SpeedScaling",
]


@dataclass(frozen=True)
class RobotSpec:
    """One robot. Raises `RobotError` where its parts contradict each other."""

    name: str
    title: str
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

    def __post_init__(self) -> None:
        _check_limits(self)
        _check_names(self)
        if self.speed_scaling and self.speed_scaling.full <= 0:
            raise RobotError(f"{self.name}: speed_scaling.full must be positive")
        if self.simulation:
            _check_simulation(self)

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
        return self.layouts[name]


_NOT_NEGATIVE = (
    "blend_time",
    "plan_timeout",
    "observation_latency",
    "actuation_latency",
    "gripper_latency",
)


def _check_limits(spec: RobotSpec) -> None:
    for joint in spec.joints:
        if not joint.lower < joint.upper:
            raise RobotError(f"{spec.name}: joint {joint.name}: lower must be below upper")
        for key in ("velocity", "acceleration", "jerk"):
            if getattr(joint, key) <= 0:
                raise RobotError(f"{spec.name}: joint {joint.name}: {key} must be positive")
    for gripper in spec.grippers:
        if not gripper.closed < gripper.open:
            raise RobotError(f"{spec.name}: gripper {gripper.name}: closed must be below open")
        if gripper.velocity <= 0:
            raise RobotError(f"{spec.name}: gripper {gripper.name}: velocity must be positive")
        if gripper.hysteresis < 0:
            raise RobotError(
                f"{spec.name}: gripper {gripper.name}: hysteresis must not be negative"
            )
    for key in ("rate", "max_first_distance", "state_timeout"):
        if getattr(spec.executor, key) <= 0:
            raise RobotError(f"{spec.name}: executor.{key} must be positive")
    for key in _NOT_NEGATIVE:
        if getattr(spec.executor, key) < 0:
            raise RobotError(f"{spec.name}: executor.{key} must not be negative")


def _check_names(spec: RobotSpec) -> None:
    known = spec.column_names
    for names, what in ((known, "joint or gripper"), (spec.camera_slots, "camera slot")):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise RobotError(f"{spec.name}: {what} {', '.join(twice)} appears twice")
    if set(spec.home) != set(known):
        wrong = ", ".join(sorted(set(spec.home) ^ set(known)))
        raise RobotError(f"{spec.name}: home must name every joint and gripper once; see {wrong}")
    for sink in spec.sinks:
        _check_sink(spec, sink)
    for name, layout in spec.layouts.items():
        _require(spec, layout.absolute, layout.columns, f"layout {name}.absolute")
        if layout.space is Space.JOINT_POSITION:
            _require(spec, layout.columns, known, f"layout {name}.columns")


def _check_sink(spec: RobotSpec, sink: Sink) -> None:
    where = f"sink {sink.topic}"
    known, wanted = spec.column_names, ""
    if sink.kind in (SinkKind.POSE, SinkKind.TWIST, SinkKind.TWIST_STAMPED):
        known, wanted = tuple(arm.name for arm in spec.end_effectors), "end effector"
    elif sink.kind in (SinkKind.GRIPPER_COMMAND, SinkKind.PARALLEL_GRIPPER_COMMAND):
        known, wanted = spec.gripper_names, "gripper"
    _require(spec, sink.names, known, where)
    if wanted and len(sink.names) != 1:
        raise RobotError(f"{spec.name}: {where} takes one {wanted}, not {len(sink.names)}")
    if not sink.names:
        raise RobotError(f"{spec.name}: {where} has no names; known: {', '.join(known)}")
    for key in ("threshold", "effort"):
        if getattr(sink, key) < 0:
            raise RobotError(f"{spec.name}: {where}.{key} must not be negative")


def _check_simulation(spec: RobotSpec) -> None:
    _require(spec, spec.simulation.cameras, spec.camera_slots, "simulation.cameras")
    for key in ("stiffness", "damping"):
        gains = getattr(spec.simulation, key)
        _require(spec, gains, spec.column_names, f"simulation.{key}")
        _require(spec, spec.column_names, gains, f"simulation.{key} lacks a name, or")


def _require(spec: RobotSpec, names, known, where: str) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise RobotError(
            f"{spec.name}: {where} has unknown name {', '.join(unknown)}; "
            f"known: {', '.join(known)}"
        )
