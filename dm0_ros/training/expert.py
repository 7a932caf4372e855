# SPDX-License-Identifier: Apache-2.0
"""The scripted expert of a whole robot: which arm acts, and what the others do meanwhile."""

from collections.abc import Mapping

import numpy as np

from dm0_ros.errors import Dm0Error
from dm0_ros.robots.spec import RobotSpec
from dm0_ros.training.reach import PoseTable, ReachExpert, ReachSettings, Region

_LOWEST_START = 0.07  # m; clear of the blocks' tops


class TouchExpert:
    """Plans for touching objects: the arm whose home is nearest reaches, the others stay.

    ``workspace`` has a region for each end effector. Raises `Dm0Error` where one lacks.
    """

    def __init__(
        self, spec: RobotSpec, workspace: Mapping[str, Region], settings: ReachSettings
    ) -> None:
        names = {end.name for end in spec.end_effectors}
        if set(workspace) != names:
            raise Dm0Error(f"{spec.name}: workspace must name {', '.join(sorted(names))}")
        self._home = dict(spec.home)
        self._regions = tuple(workspace[end.name] for end in spec.end_effectors)
        self._arms = tuple(
            ReachExpert(PoseTable(spec, end, region), settings)
            for end, region in zip(spec.end_effectors, self._regions, strict=True)
        )
        self.names = tuple(name for arm in self._arms for name in arm.table.names)
        self._shoulders = np.stack([arm.table.place(self._home) for arm in self._arms])[:, :2]

    def start(
        self, random: np.random.Generator, at_home: float, disturbance: float
    ) -> dict[str, float]:
        """Where an episode begins: each arm at home, by the share ``at_home``, or anywhere.

        ``disturbance`` is the standard deviation (rad) that joints are off by.
        """
        start = dict(self._home)
        for arm, region in zip(self._arms, self._regions, strict=True):
            if random.random() < at_home:
                continue
            lower = (*region.lower[:2], max(_LOWEST_START, region.lower[2]))
            joints = arm.table.positions(random.uniform(lower, region.upper))
            joints = joints + random.normal(0.0, disturbance, len(joints))
            start |= dict(zip(arm.table.names, joints, strict=True))
        return start

    def plan(
        self, measured: Mapping[str, float], tops: np.ndarray, rows: int, step: float
    ) -> np.ndarray:
        """Joint positions (N, rows, J) rad, row 0 now, that touch each of ``tops`` (N, 3)."""
        joints = np.array([measured[name] for name in self.names])
        plans = np.tile(joints, (len(tops), rows, 1))
        chosen = self.choose(tops)
        first = 0
        for index, arm in enumerate(self._arms):
            own = slice(first, first + len(arm.table.names))
            first = own.stop
            mine = chosen == index
            if mine.any():
                plans[mine, :, own] = arm.plan(joints[own], tops[mine], rows, step)
        return plans

    def choose(self, tops: np.ndarray) -> np.ndarray:
        """Index (N,) of the arm that touches each of ``tops`` (N, 3)."""
        distances = np.linalg.norm(tops[:, None, :2] - self._shoulders[None], axis=2)
        return distances.argmin(1)
