# SPDX-License-Identifier: Apache-2.0
"""Our own suite: blocks and a bin on a table, under LIBERO's contract, simulated by sim/.

Its scores say how a policy does here, not how it would do in LIBERO.
"""

from dataclasses import dataclass, replace

import numpy as np

from dm0_ros.libero.contract import RATE, VIEWS, Moment, check_action
from dm0_ros.libero.controller import PoseController
from dm0_ros.libero.environment import check_episode
from dm0_ros.libero.suites import OfflineTask, load_libero_robot, load_suites
from dm0_ros.sim.simulator import Simulator
from dm0_ros.sim.world import TaskKind, load_world

_FINGER_RATE = 0.2  # m/s of the opening: all the way in 0.4 s, as robosuite's Panda closes


@dataclass(frozen=True, eq=False)
class Truth:
    """What only the simulator knows; places (3,) m in the frame that states are told in."""

    kind: TaskKind
    object: np.ndarray  # centre of the block that is asked for
    turn: float  # rad, about the vertical
    size: float  # m, its edge
    bin: np.ndarray | None  # middle of the bin's floor, where there is one


class OfflineEnvironment:
    """An `Environment` with ten tasks. Renders from the thread that made it."""

    def __init__(self) -> None:
        suites = load_suites()
        self._settings, self._episodes = suites.offline, suites.trials
        self._base = np.array(self._settings.base)
        self._robot = load_libero_robot()
        self.instructions = tuple(task.instruction for task in self._settings.tasks)
        self._place: tuple[str, str] = ("", "")  # world and task of the simulator that is there
        self._simulator: Simulator | None = None
        self._task: OfflineTask | None = None

    def reset(self, task: int, episode: int) -> Moment:
        """Begin; see `Environment`. Scenes are drawn by task and episode."""
        check_episode(task, len(self.instructions), episode, self._episodes)
        self._task = self._settings.tasks[task]
        self._open(self._task)
        source = np.random.default_rng([task, episode])
        self._simulator.arrange(self._simulator.world.place(source), self._robot.home)
        self._opening = self._robot.home[self._robot.gripper_names[0]]
        self._controller.reset()
        return self._look()

    def step(self, action: np.ndarray) -> tuple[Moment, bool]:
        """Apply an action (7,); see `Environment`.

        It is done when what was asked for has happened to the named block, and to no other
        before.
        """
        action = check_action(action)
        gripper = self._robot.grippers[0]
        self._controller.set_goal(action[:6])
        physics = self._simulator.model.opt.timestep
        for _ in range(round(1.0 / RATE / physics)):
            change = -np.sign(action[6]) * _FINGER_RATE * physics
            self._opening = float(np.clip(self._opening + change, gripper.closed, gripper.open))
            self._simulator.command([gripper.name], [self._opening])
            self._controller.apply()
            self._simulator.step(physics)
        outcomes = self._simulator.outcomes
        return self._look(), bool(outcomes) and outcomes[0].name == self._task.object

    def truth(self) -> Truth:
        """Of the present moment. For experts and tests, never for policies."""
        world, name = self._simulator.world, self._task.object
        pose = self._simulator.object_pose(name)
        w, x, y, z = pose[3:]
        turn = np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
        bin_place = None
        if world.bin:
            bin_place = self._base + np.array([*world.bin.position, world.table.top])
        size = next(block.size for block in world.objects if block.name == name)
        return Truth(self._simulator.kind, self._base + pose[:3], float(turn), size, bin_place)

    def close(self) -> None:
        """Free what renders."""
        if self._simulator is not None:
            self._simulator.close()
            self._simulator, self._place = None, ("", "")

    def _open(self, task: OfflineTask) -> None:
        if self._place == (task.world, task.task):
            return
        self.close()
        simulation = replace(self._robot.simulation, world=task.world)
        spec = replace(self._robot, simulation=simulation)
        settings, world = self._settings, load_world(task.world)
        self._simulator = Simulator(spec, world, task=task.task)
        model = self._simulator.model
        rates = [model.joint(name).dofadr[0] for name in spec.joint_names]
        model.dof_armature[rates] = settings.armature
        model.dof_damping[rates] = settings.damping
        model.dof_frictionloss[rates] = settings.friction
        self._controller = PoseController(
            model, self._simulator.data, spec.joint_names, settings.hand, settings.grip
        )
        self._place = (task.world, task.task)

    def _look(self) -> Moment:
        opening = self._simulator.measured()[self._robot.gripper_names[0]]
        quaternion = self._controller.quaternion
        if quaternion[0] < 0:  # of two signs the one that LIBERO has with a hand that points down
            quaternion = -quaternion
        # MuJoCo's renderer gives the top row first; LIBERO's pictures begin at the bottom.
        views = (self._simulator.render(slot)[::-1] for slot in VIEWS)
        return Moment(
            *views,
            position=self._base + self._controller.position,
            quaternion=quaternion,
            fingers=np.array([opening / 2, -opening / 2]),
        )
