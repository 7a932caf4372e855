# SPDX-License-Identifier: Apache-2.0
"""A simulated robot: commands in, joint states and pictures out, and the truth about objects."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from dm0_ros.errors import RobotError
from dm0_ros.robots.layouts import BASE_COLUMNS
from dm0_ros.robots.spec import RobotSpec
from dm0_ros.sim.moving_base import MovingBase
from dm0_ros.sim.scene import ROBOT, build_scene
from dm0_ros.sim.world import TaskKind, World, load_world

_REST = 0.05  # m/s: a block that moves less lies still


@dataclass(frozen=True)
class Outcome:
    """What a task asks for has happened to an object."""

    name: str
    time: float  # s since reset


@dataclass(frozen=True)
class JointState:
    """What a driver would report: gripper joints by their own position, not by opening."""

    names: tuple[str, ...]
    positions: np.ndarray  # (N,) rad or m
    velocities: np.ndarray  # (N,) rad/s or m/s


class Simulator:
    """One robot in one world. Not thread-safe; render from the thread that made it.

    ``task`` is one of the world's, by default its first: it says which outcomes count. Raises
    `RobotError` where the robot's YAML has no simulation section.
    """

    def __init__(
        self, spec: RobotSpec, world: World | None = None, seed: int = 0, task: str = ""
    ) -> None:
        if spec.simulation is None:
            raise RobotError(f"{spec.name}: its YAML has no 'simulation' section; add one")
        self.spec = spec
        self.world = world or load_world(spec.simulation.world)
        self.task = self.world.task(task)
        self.kind = self.task.kind
        self.model = build_scene(spec, self.world)
        self.data = mujoco.MjData(self.model)
        self._scales = {g.name: 1.0 / g.opening_per_joint for g in spec.grippers}
        self._addresses = np.array(
            [self.model.joint(name).qposadr[0] for name in spec.column_names]
        )
        self._rates = np.array([self.model.joint(name).dofadr[0] for name in spec.column_names])
        self.base = MovingBase(self.model, spec.base) if spec.base else None
        self._objects = {self.model.geom(n).id: n for n in self.world.object_names}
        self._renderers: dict[tuple[int, int], mujoco.Renderer] = {}
        self._seeds = np.random.SeedSequence(seed)
        self.reset()

    @property
    def time(self) -> float:
        """Simulated seconds since the last reset."""
        return self.data.time

    def reset(self, seed: int | None = None) -> None:
        """Robot home, objects somewhere else. The same seed gives the same scene.

        Without a seed, the next scene of the sequence that the constructor's seed began.
        """
        source = self._seeds.spawn(1)[0] if seed is None else seed
        self.arrange(self.world.place(np.random.default_rng(source)), self.spec.home)

    def arrange(self, poses: np.ndarray, home: Mapping[str, float]) -> None:
        """Start afresh with objects at ``poses`` (N, 3: x, y, yaw) and the robot at ``home``."""
        mujoco.mj_resetData(self.model, self.data)
        if self.base:
            self.base.reset()
        for block, (x, y, yaw) in zip(self.world.objects, poses, strict=True):
            address = self.model.joint(block.name).qposadr[0]
            height = self.world.table.top + block.size / 2
            quaternion = [np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]
            self.data.qpos[address : address + 7] = [x, y, height, *quaternion]
        names = list(home)
        self.command(names, [home[name] for name in names])
        self._jump_to_command()
        self.touches: list[Outcome] = []
        self.placements: list[Outcome] = []

    def _jump_to_command(self) -> None:
        self.data.qpos[self._addresses] = self.data.ctrl[: len(self._addresses)]
        for index in range(self.model.neq):
            if self.model.eq_type[index] == mujoco.mjtEq.mjEQ_JOINT:
                follower, leader = self.model.eq_obj1id[index], self.model.eq_obj2id[index]
                ratio = self.model.eq_data[index, 1]
                position = self.data.qpos[self.model.jnt_qposadr[leader]] * ratio
                self.data.qpos[self.model.jnt_qposadr[follower]] = position
        mujoco.mj_forward(self.model, self.data)

    def command(self, names: Sequence[str], values: Sequence[float]) -> None:
        """Set servo targets by name: rad, metres of opening for grippers, velocities of a base.

        Raises `RobotError` for an unknown name or a value that is not finite.
        """
        for name, value in zip(names, values, strict=True):
            is_base = self.base is not None and name in BASE_COLUMNS
            if name not in self.spec.column_names and not is_base:
                raise RobotError(f"simulator: command for unknown joint '{name}'")
            if not np.isfinite(value):
                raise RobotError(f"simulator: command for {name} is not finite")
            if is_base:
                self.base.command(name, value)
                continue
            index = self.spec.column_names.index(name)
            self.data.ctrl[index] = value * self._scales.get(name, 1.0)

    @property
    def outcomes(self) -> list[Outcome]:
        """The objects to which happened what the task asks for, in this order."""
        return self.touches if self.kind is TaskKind.TOUCH else self.placements

    def step(self, duration: float) -> None:
        """Advance physics by ``duration`` seconds, in whole physics steps."""
        touching: set[str] = set()
        for _ in range(round(duration / self.model.opt.timestep)):
            if self.base:
                self.base.drive(self.data)
            mujoco.mj_step(self.model, self.data)
            touching = self._find_touching()
            if touching:
                self._note(self.touches, touching)
        if self.world.bin:
            lying = {name for name in self.world.object_names if self._lies_in_bin(name)}
            self._note(self.placements, lying - touching)

    def _find_touching(self) -> set[str]:
        """Names of the objects that the robot is in contact with."""
        touching = set()
        contacts = self.data.contact
        for pair in contacts.geom[: self.data.ncon]:
            for one, other in (pair, pair[::-1]):
                name = self._objects.get(int(one))
                if name and self.model.geom_contype[other] == ROBOT:
                    touching.add(name)
        return touching

    def _note(self, outcomes: list[Outcome], names: set[str]) -> None:
        known = {outcome.name for outcome in outcomes}
        outcomes += [Outcome(name, self.data.time) for name in sorted(names - known)]

    def _lies_in_bin(self, name: str) -> bool:
        place = self.object_pose(name)[:3]
        floor = self.world.table.top + self.world.bin.wall
        size = next(block.size for block in self.world.objects if block.name == name)
        still = np.linalg.norm(self.data.joint(name).qvel[:3]) < _REST
        # A cube on an edge is 0.7 of its size high; a second layer is higher.
        low = place[2] - floor < 0.75 * size
        return bool(still and low and self.world.bin.holds(place[:2]))

    def joint_state(self) -> JointState:
        """Positions and velocities of every joint and gripper, as the driver reports them."""
        return JointState(
            self.spec.column_names,
            self.data.qpos[self._addresses].copy(),
            self.data.qvel[self._rates].copy(),
        )

    def measured(self) -> dict[str, float]:
        """Joint positions by name: rad, and metres of opening for grippers."""
        state = self.joint_state()
        pairs = zip(state.names, state.positions, strict=True)
        return {name: float(value) / self._scales.get(name, 1.0) for name, value in pairs}

    def object_pose(self, name: str) -> np.ndarray:
        """Pose (7,) of an object: x y z, quaternion w x y z. For truth, never for policies."""
        return self.data.joint(name).qpos.copy()

    def render(self, slot: str) -> np.ndarray:
        """Picture of a camera, (height, width, 3) uint8 RGB."""
        return self._prepare(slot).render()

    def segment(self, slot: str, only: Collection[int] | None = None) -> np.ndarray:
        """Which geom each pixel of a camera shows: ids (height, width), -1 where there is none.

        ``only`` these, as if nothing else were there. For truth, never for policies.
        """
        renderer = self._prepare(slot)
        for geom in renderer.scene.geoms[: renderer.scene.ngeom]:
            if only is not None and geom.objid not in only:
                geom.segid = -1  # MuJoCo leaves it out
        renderer.enable_segmentation_rendering()
        ids = renderer.render()[..., 0]
        renderer.disable_segmentation_rendering()
        return ids

    def _prepare(self, slot: str) -> mujoco.Renderer:
        camera = self.spec.simulation.cameras[slot]
        size = (camera.height, camera.width)
        if size not in self._renderers:
            self._renderers[size] = mujoco.Renderer(self.model, *size)
        renderer = self._renderers[size]
        renderer.update_scene(self.data, camera=slot)
        return renderer

    def close(self) -> None:
        """Free the renderers."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()
