# SPDX-License-Identifier: Apache-2.0
"""How a checkpoint was trained, as its policy.yaml says it: what config.json has no room for."""

from dataclasses import asdict, dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn

import yaml

from dm0_ros.errors import CheckpointError
from dm0_ros.policy.actions import GripperRule
from dm0_ros.policy.normalisation import Normalisation
from dm0_ros.policy.pictures import PadColour, PixelScale
from dm0_ros.resources import list_resources
from dm0_ros.robots.parsing import load_yaml
from dm0_ros.robots.spec import Layout, RobotSpec
from dm0_ros.scaffold.settings import ScaffoldSettings

FILE_NAME = "policy.yaml"

_EXAMPLE = """\
  name: dm0-franka             # your name for it
  robots: [franka]             # names in config/ that it was trained for
  layout: pose                 # one of the robot's layouts
  step: 0.1                    # s between rows of a chunk
  normalisation: quantile      # or z_score
  max_text_tokens: 100
  pad_colour: grey             # or black
  camera_slots: [right_hand, high, left_hand]  # in the network's order"""


@dataclass(frozen=True)
class PolicySettings:
    """The content of policy.yaml. Raises `CheckpointError` where its values contradict."""

    name: str
    robots: tuple[str, ...]  # that it was trained for
    layout: str  # name of one of the robot's layouts
    step: float  # s between rows of a chunk
    normalisation: Normalisation
    max_text_tokens: int
    pad_colour: PadColour
    camera_slots: tuple[str, ...]  # names in the network's order
    masked_slots: tuple[str, ...] = ()  # slots of these that stay empty
    pixel_scale: PixelScale = PixelScale.HALF
    executed_rows: int | None = None  # rows that its authors executed before they looked again
    gripper: GripperRule | None = None
    clip: tuple[tuple[float, float], ...] = ()  # (lower, upper) of each column; applied last
    world: str | None = None  # in config/worlds/, where it was trained in simulation
    task: str | None = None  # that it was trained for: one of the world's
    progress: bool | None = None  # whether to run the progress head; None: as config.json says
    scaffold: ScaffoldSettings | None = None  # what it says before it acts; None: nothing

    def __post_init__(self) -> None:
        slots, masked = self.camera_slots, self.masked_slots
        if self.step <= 0:
            _refuse("step", f"is {self.step} s; it must be positive")
        if self.max_text_tokens < 1:
            _refuse("max_text_tokens", f"is {self.max_text_tokens}; it must be at least 1")
        if not self.robots:
            _refuse("robots", "is empty; name those that it was trained for")
        if len(set(slots)) != len(slots):
            _refuse("camera_slots", f"names a slot twice; see {', '.join(slots)}")
        if not set(masked) < set(slots):
            _refuse(
                "masked_slots" if masked else "camera_slots",
                f"the masked slots must be some, not all, of camera_slots ({', '.join(slots)}), "
                f"found {', '.join(masked) or 'no slot at all'}",
            )
        if self.executed_rows is not None and self.executed_rows < 1:
            _refuse("executed_rows", f"is {self.executed_rows}; it must be at least 1")
        if any(lower > upper for lower, upper in self.clip):
            _refuse("clip", "has a lower limit above its upper one; swap them")
        if self.scaffold is not None:
            self._check_scaffold(self.scaffold)

    def _check_scaffold(self, scaffold: ScaffoldSettings) -> None:
        if scaffold.view not in self.used_slots:
            _refuse(
                "scaffold",
                f"is {scaffold.view}, which the network does not see; it sees "
                f"{', '.join(self.used_slots)}",
                "view",
            )
        grammars = [Path(name).stem for name in list_resources("config", "scaffold/*.yaml")]
        if scaffold.grammar not in grammars:
            _refuse(
                "scaffold",
                f"is {scaffold.grammar}, but config/scaffold/ has {', '.join(grammars)}: put "
                "its templates there",
                "grammar",
            )

    @property
    def used_slots(self) -> tuple[str, ...]:
        """The slots that need pictures, in the network's order."""
        return tuple(slot for slot in self.camera_slots if slot not in self.masked_slots)

    def layout_of(self, robot: RobotSpec) -> Layout:
        """The robot's layout for this checkpoint; raises `CheckpointError` if they do not fit."""
        if robot.name not in self.robots:
            raise CheckpointError(
                f"{self.name} was trained for {', '.join(self.robots)}, not for {robot.name}; "
                f"{self._describe_absent()}choose another checkpoint, or add {robot.name} to "
                f"robots in its {FILE_NAME}"
            )
        if self.layout not in robot.layouts:
            raise CheckpointError(
                f"{self.name} needs layout '{self.layout}', which {robot.name} lacks; "
                f"its layouts are {', '.join(robot.layouts)}"
            )
        absent = [slot for slot in self.used_slots if slot not in robot.camera_slots]
        if absent:
            raise CheckpointError(
                f"{self.name} needs camera slot {', '.join(absent)}, which {robot.name} lacks; "
                f"its slots are {', '.join(robot.camera_slots)}: add it to the robot's YAML, "
                f"or to masked_slots in {FILE_NAME} if the checkpoint was trained without it"
            )
        layout = robot.layout(self.layout)
        if self.clip and len(self.clip) != len(layout.columns):
            raise CheckpointError(
                f"{self.name}: clip has limits for {len(self.clip)} columns, layout {self.layout} "
                f"of {robot.name} has {len(layout.columns)} ({', '.join(layout.columns)})"
            )
        return layout

    def _describe_absent(self) -> str:
        """Says so where config/ knows none of the checkpoint's robots."""
        files = [f"{name}.yaml" for name in self.robots]
        if set(files) & set(list_resources("config", ".yaml")):
            return ""
        return f"config/{' or config/'.join(files)}, which would describe it, is missing; "


def _refuse(key: str, message: str, *inner: str) -> NoReturn:
    raise CheckpointError(message, key=(key, *inner))


def dump_settings(settings: PolicySettings) -> str:
    """The settings as the text of a policy.yaml; `load_settings` reads it back the same."""
    content = {
        item.name: _plain(getattr(settings, item.name))
        for item in fields(settings)
        if getattr(settings, item.name) != item.default
    }
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=100)


def _plain(value: Any) -> Any:
    """What YAML has words for: no tuples, enums or dataclasses."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        return {key: _plain(item) for key, item in asdict(value).items() if item is not None}
    return value


def load_settings(folder: str | Path) -> PolicySettings:
    """Read policy.yaml of a checkpoint folder.

    Raises `CheckpointError` that says what to write where there is none.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        raise CheckpointError(
            f"{path} is missing: it says how the checkpoint was trained. For a public one, type "
            f"'dm0 checkpoint settings NAME > {path}' ('dm0 checkpoint list' has the names). "
            f"Write one such as\n{_EXAMPLE}"
        )
    return load_yaml(PolicySettings, path, CheckpointError)
