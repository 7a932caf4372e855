# SPDX-License-Identifier: Apache-2.0
"""What a policy feels of the robot: its state columns, of measured joint positions."""

from collections.abc import Mapping, Sequence

import numpy as np

from dm0_ros.errors import ObservationError
from dm0_ros.policy.observation import order_state
from dm0_ros.robots.kinematics import Chain, euler_from_pose, load_urdf
from dm0_ros.robots.poses import EULER, POSITION, name_columns
from dm0_ros.robots.spec import RobotSpec


class Proprioception:
    """Columns are joints and grippers as they are measured, and poses of end effectors by forward
    kinematics: ``tip`` in ``base`` of the robot's YAML, angles about fixed axes in [-pi, pi].

    Not thread-safe.
    """

    def __init__(self, names: Sequence[str], robot: RobotSpec) -> None:
        """For the columns ``names``; raises `ObservationError` for one that the robot lacks."""
        self._names = tuple(names)
        self._arms: list[tuple[tuple[str, ...], Chain]] = []
        arms = [end.name for end in robot.end_effectors]
        measured = dict.fromkeys(names)
        for end in robot.end_effectors:
            columns = name_columns((*POSITION, *EULER), end.name, arms)
            if set(columns) & set(names):
                chain = Chain(load_urdf(robot), end.base, end.tip)
                self._arms.append((columns, chain))
                measured = dict.fromkeys([*measured, *chain.joint_names])
                measured = {name: None for name in measured if name not in columns}
        unknown = [name for name in measured if name not in robot.column_names]
        if unknown:
            raise ObservationError(
                f"{robot.name} has no {', '.join(unknown)} to observe; correct the layout in its "
                f"YAML: known are {', '.join(robot.column_names)}, and the poses of "
                f"{', '.join(arms) or 'no end effector'}"
            )
        self.measured = tuple(measured)  # joints and grippers that have to be measured

    def state(self, positions: Mapping[str, float]) -> np.ndarray:
        """The columns (S,), of positions of ``measured`` by name (rad; m of opening)."""
        columns = dict(positions)
        for names, chain in self._arms:
            pose = chain.pose(positions)
            columns |= zip(names, (*pose[:3, 3], *euler_from_pose(pose)), strict=True)
        return order_state(columns, self._names)
