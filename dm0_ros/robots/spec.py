# SPDX-License-Identifier: Apache-2.0
"""What the package knows about one robot: names, limits, cameras, layouts, outputs.

A `RobotSpec` is the content of one ``config/<robot>.yaml``, checked. Nothing here knows ROS.
Units are SI and radians; gripper values are metres of opening between the fingers.
"""

from dataclasses import dataclass, field
from enum import Enum

from dm0_ros.errors import RobotError


class Space(str, Enum):
    """What the columns of a plan mean. Values are those of the YAML."""

    JOINT_POSITION = "joint_position"
    EEF_POSE = "eef_pose"
    BASE_TWIST = "base_twist"


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
class Layout:
    """One way to lay out state and action columns, by name."""

    space: Space
    columns: tuple[str, ...]
    absolute: tuple[str, ...]  # columns that the network gives as values, not as differences


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


@dataclass(frozen=True)
class SpeedScaling:
    """Where a robot says how much of its speed is allowed; a Float64."""

    topic: str
    full: float = 1.0  # value that means full speed; 100 where it comes in percent


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


@dataclass(frozen=True)
class Simulation:
    """What a simulator needs beyond the URDF."""

    world: str  # file stem in config/worlds/
    physics_step: float  # s
    stiffness: dict[str, float]  # N m/rad (N/m for a gripper) of the position servo, by joint
    damping: dict[str, float]  # N m s/rad
    cameras: dict[str, SimulatedCamera]
    camera_rate: float  # Hz


@dataclass(frozen=True)
class Description:
    """The URDF of the robot: a file in urdf/ and the arguments of its xacro."""

    file: str
    arguments: dict[str, str] = field(default_factory=dict)


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
