# SPDX-License-Identifier: Apache-2.0
"""The scripted expert of a whole robot: which arm acts, and what the others do meanwhile."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from dm0_ros.errors import Dm0Error
from dm0_ros.sim.simulator import Simulator
from dm0_ros.sim.world import Phase, TaskKind
from dm0_ros.training.place import PlaceExpert, PlaceSettings
from dm0_ros.training.reach import PoseTable, ReachExpert, ReachSettings, Region

_LOWEST_START = 0.05  # m above the bottom of the workspace: clear of the blocks' tops


@dataclass(frozen=True)
class Scene:
    """What the expert knows of the world. A policy has to see it."""

    measured: Mapping[str, float]  # rad and m by name
    centres: np.ndarray  # (N, 3) m of the objects
    placed: np.ndarray  # (N,) bool: lies in the bin

    @classmethod
    def of(cls, simulator: Simulator) -> "Scene":
        """The scene as it is."""
        names = simulator.world.object_names
        placed = {outcome.name for outcome in simulator.placements}
        return cls(
            simulator.measured(),
            np.stack([simulator.object_pose(name)[:3] for name in names]),
            np.array([name in placed for name in names]),
        )


class Expert:
    """Plans for a task: the arm whose home is nearest to the object acts, the others stay.

    ``workspace`` has a region for each end effector; ``place`` is what a task of that kind needs
    beside the motion. Raises `Dm0Error` where one lacks.
    """

    def __init__(
        self,
        simulator: Simulator,
        workspace: Mapping[str, Region],
        motion: ReachSettings,
        place: PlaceSettings | None,
    ) -> None:
        self._spec = spec = simulator.spec
        self._bin = simulator.world.bin
        self._heights = np.array([block.size / 2 for block in simulator.world.objects])
        if set(workspace) != {end.name for end in spec.end_effectors}:
            names = ", ".join(end.name for end in spec.end_effectors)
            raise Dm0Error(f"{spec.name}: workspace must name its end effectors: {names}")
        self._regions = tuple(workspace[end.name] for end in spec.end_effectors)
        tables = [
            PoseTable(spec, end, region)
            for end, region in zip(spec.end_effectors, self._regions, strict=True)
        ]
        self._arms = [_choose_motion(simulator, table, motion, place) for table in tables]
        self.joint_names = tuple(name for table in tables for name in table.names)
        self.names = self.joint_names + spec.gripper_names
        self._homes = np.stack([table.place(spec.home) for table in tables])[:, :2]

    def start(
        self, random: np.random.Generator, at_home: float, disturbance: float
    ) -> dict[str, float]:
        """Where an episode begins: each arm at home, by the share ``at_home``, or anywhere.

        ``disturbance`` is the standard deviation (rad) that joints are off by.
        """
        start = dict(self._spec.home)
        for arm, region in zip(self._arms, self._regions, strict=True):
            if random.random() < at_home:
                continue
            lower = (*region.lower[:2], round(region.lower[2] + _LOWEST_START, 6))
            joints = arm.table.positions(random.uniform(lower, region.upper))
            joints = joints + random.normal(0.0, disturbance, len(joints))
            start |= dict(zip(arm.table.names, joints, strict=True))
        return start

    def plan(self, scene: Scene, rows: int, step: float) -> np.ndarray:
        """Set-points (N, rows, C) of ``names`` in rad and m, row 0 now, one plan an object."""
        now = self._joints(scene)
        rest = np.array([self._spec.home[name] for name in self._spec.gripper_names])
        plans = np.tile(np.concatenate([now, rest]), (len(scene.centres), rows, 1))
        for arm, own, gripper, mine in self._share_out(scene):
            if isinstance(arm, ReachExpert):
                plans[mine, :, own] = arm.plan(now[own], self._tops(scene, mine), rows, step)
                continue
            opening = scene.measured[self.names[gripper]]
            plans[mine, :, own], plans[mine, :, gripper] = arm.plan(
                now[own], opening, scene.centres[mine], scene.placed[mine], rows, step
            )
        return plans

    def phases(self, scene: Scene) -> tuple[Phase, ...]:
        """What the plan for each of the N objects begins with."""
        now = self._joints(scene)
        phases = np.empty(len(scene.centres), object)
        for arm, own, gripper, mine in self._share_out(scene):
            if isinstance(arm, ReachExpert):
                phases[mine] = arm.phases(now[own], self._tops(scene, mine))
                continue
            opening = scene.measured[self.names[gripper]]
            centres, done = scene.centres[mine], scene.placed[mine]
            inside = np.array([self._bin.holds(centre[:2]) for centre in centres])
            phases[mine] = arm.phases(now[own], opening, centres, done, inside)
        return tuple(phases)

    def _joints(self, scene: Scene) -> np.ndarray:
        return np.array([scene.measured[name] for name in self.joint_names])

    def _tops(self, scene: Scene, mine: np.ndarray) -> np.ndarray:
        return scene.centres[mine] + self._heights[mine, None] * [0, 0, 1]

    def _share_out(self, scene: Scene) -> Iterator[tuple]:
        """Each arm that acts on an object, its joints' columns, its gripper's, and the objects
        (N,) bool."""
        chosen = self.choose(scene.centres)
        first = 0
        for index, arm in enumerate(self._arms):
            own = slice(first, first + len(arm.table.names))
            first = own.stop
            if (chosen == index).any():
                yield arm, own, len(self.joint_names) + index, chosen == index

    def choose(self, centres: np.ndarray) -> np.ndarray:
        """Index (N,) of the arm that acts on each of the objects at ``centres`` (N, 3)."""
        distances = np.linalg.norm(centres[:, None, :2] - self._homes[None], axis=2)
        return distances.argmin(1)


def _choose_motion(
    simulator: Simulator, table: PoseTable, motion: ReachSettings, place: PlaceSettings | None
) -> ReachExpert | PlaceExpert:
    if simulator.kind is TaskKind.TOUCH:
        return ReachExpert(table, motion)
    if place is None:
        raise Dm0Error("a task of kind place needs the recipe's 'place'; add it")
    world = simulator.world
    closed = min(gripper.closed for gripper in simulator.spec.grippers)
    size = world.objects[0].size
    return PlaceExpert(table, motion, place, world.bin.position, world.table.top, size, closed)
