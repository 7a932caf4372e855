# SPDX-License-Identifier: Apache-2.0
"""How a set of data is to be read: which of its columns and cameras are the robot's, and when."""

from dataclasses import MISSING, dataclass, field, fields
from enum import Enum
from pathlib import Path

from dm0_ros.robots import load_robot
from dm0_ros.robots.checks import require_known
from dm0_ros.robots.spec import Layout
from dm0_ros.training.sources.sample import Embodiment, SourceError

_OF_RECORDINGS = ("kind", "path", "name", "weight", "skip_broken")


class SourceKind(str, Enum):
    """What lies in the folder."""

    LEROBOT = "lerobot"  # a LeRobot dataset of format v3
    EPISODES = "episodes"  # what `dm0 dataset from-bags --format episodes` wrote
    DEXDATA = "dexdata"  # JSON lines, a file an episode, as Dexbotic has them
    RECORDINGS = "recordings"  # what `dm0 train` recorded in simulation


class ActionSource(str, Enum):
    """What a row is: where the robot came to be, or where it was told to be."""

    NEXT_STATE = "next_state"  # row k is the state one step after its time, as DM0 was trained
    ACTION = "action"  # row k is the data's own action at its time


@dataclass(frozen=True)
class SourceSettings:
    """One set of data, as a YAML names it. Raises `SourceError` where its values contradict.

    Without a robot there are no rows: the samples teach text alone.
    """

    kind: SourceKind
    path: str
    name: str = ""  # the folder's, if left out
    cameras: dict[str, str] = field(default_factory=dict)  # the data's key: camera slot
    robot: str | None = None
    layout: str | None = None  # one of the robot's
    columns: dict[str, str] = field(default_factory=dict)  # the layout's column: the data's name
    degrees: tuple[str, ...] = ()  # columns of the layout that the data have in degrees
    actions: ActionSource = ActionSource.NEXT_STATE
    step: float | None = None  # s between rows
    rows: int = 50
    fps: float | None = None  # frames per second, where the data do not say it
    every: int = 1  # frames from one sample to the next
    shortest: int | None = None  # frames that an episode needs; as many as rows, if left out
    progress: bool = False  # whether the time in an episode says how much of the job is done
    media: str | None = None  # folder that pictures are relative to; the data's, if left out
    weight: float = 1.0
    skip_broken: bool = False

    def __post_init__(self) -> None:
        for key in ("step", "fps", "rows", "every", "shortest", "weight"):
            value = getattr(self, key)
            if value is not None and value <= 0:
                raise SourceError(f"is {value}; it must be positive", key=(key,))
        slots = list(self.cameras.values())
        twice = sorted({slot for slot in slots if slots.count(slot) > 1})
        if twice:
            message = f"more than one camera is {', '.join(twice)}; a slot takes one"
            raise SourceError(message, key=("cameras",))
        if self.kind is SourceKind.RECORDINGS:
            self._check_unused()
        elif self.robot is not None:
            self._check_robot()

    @property
    def folder(self) -> Path:
        """Where the data lie."""
        return Path(self.path).expanduser()

    @property
    def title(self) -> str:
        """The name, for people and for `Sample.dataset`."""
        return self.name or self.folder.resolve().name

    def find_layout(self) -> Layout | None:
        """The robot's layout; None where there is no robot."""
        return None if self.robot is None else load_robot(self.robot).layout(self.layout or "")

    def find_embodiment(self) -> Embodiment | None:
        """Whose rows these are; None where there is no robot."""
        if self.robot is None:
            return None
        robot = load_robot(self.robot)
        return Embodiment(robot.name, self.layout, self.step, robot.camera_slots)

    def _check_unused(self) -> None:
        for item in fields(self):
            if item.name in _OF_RECORDINGS:
                continue
            default = {} if item.default is MISSING else item.default
            if getattr(self, item.name) != default:
                message = "is said by the recording itself; leave it out"
                raise SourceError(message, key=(item.name,))

    def _check_robot(self) -> None:
        for key in ("layout", "step"):
            if getattr(self, key) is None:
                raise SourceError(
                    f"is missing, which robot {self.robot} needs; add it", key=(key,)
                )
        robot = load_robot(self.robot)
        layout = robot.layout(self.layout)
        for key, slot in self.cameras.items():
            if slot not in robot.camera_slots:
                known = ", ".join(robot.camera_slots)
                message = f"{self.robot} has no camera slot '{slot}'; its slots are {known}"
                raise SourceError(message, key=("cameras", key))
        known = tuple(dict.fromkeys((*layout.columns, *layout.state_columns)))
        require_known(self.columns, known, "column", "columns")
        require_known(self.degrees, layout.columns, "column", "degrees")
        velocities = set(layout.columns) - set(layout.state_columns)
        if velocities and self.actions is ActionSource.NEXT_STATE:
            message = f"no state has {', '.join(sorted(velocities))}; write 'actions: action'"
            raise SourceError(message, key=("actions",))


@dataclass(frozen=True)
class SourceList:
    """Sets of data that are trained on together."""

    sources: tuple[SourceSettings, ...]
