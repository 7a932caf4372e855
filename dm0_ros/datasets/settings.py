# SPDX-License-Identifier: Apache-2.0
"""How bags are to become a dataset."""

from dataclasses import dataclass
from enum import Enum

from dm0_ros.errors import Dm0Error
from dm0_ros.robots.layouts import BASE_COLUMNS, Layout
from dm0_ros.robots.spec import RobotSpec

ALL = "all"
"""In the place of a joint: every one."""


class Format(str, Enum):
    """What is written."""

    LEROBOT = "lerobot"  # a LeRobot dataset of format v3
    EPISODES = "episodes"  # our own: pictures as they were recorded


@dataclass(frozen=True)
class Cut:
    """How episodes are cut out of bags. Raises `Dm0Error` where that makes no sense."""

    robot: RobotSpec
    layout: str
    step: float  # s between rows
    slots: tuple[str, ...]  # cameras whose pictures are kept
    measured: tuple[str, ...] = ()  # joints whose actions are what was measured; or `ALL`
    instruction: str = ""  # of episodes that say none
    only_successful: bool = False
    shortest: float = 0.5  # s that an episode must last
    namespace: str = ""  # of the recorded graph

    def __post_init__(self) -> None:
        known = [*self.robot.column_names, ALL]
        if unknown := [name for name in self.measured if name not in known]:
            raise Dm0Error(
                f"--measured: {self.robot.name} has no {', '.join(unknown)}; "
                f"known are {', '.join(known)}"
            )
        if unknown := [slot for slot in self.slots if slot not in self.robot.camera_slots]:
            raise Dm0Error(
                f"--cameras: {self.robot.name} has no camera slot {', '.join(unknown)}; "
                f"known are {', '.join(self.robot.camera_slots)}"
            )
        if base := [name for name in self.columns.columns if name in BASE_COLUMNS]:
            raise Dm0Error(
                f"layout {self.layout} of {self.robot.name} has velocities of a base "
                f"({', '.join(base)}), and bags of arms alone become data; choose another --layout"
            )

    @property
    def columns(self) -> Layout:
        """The layout of states and actions."""
        return self.robot.layout(self.layout)

    def takes_measured(self, name: str) -> bool:
        """Whether a joint's action is what was measured of it."""
        return ALL in self.measured or name in self.measured
