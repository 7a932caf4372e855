# SPDX-License-Identifier: Apache-2.0
"""A simulated base in a house: velocities in, odometry and pictures with depth out.

The base is kinematic: it follows velocities within its acceleration limits, and stops dead where
it touches walls or furniture, by the map. Odometry is exact.
"""

from dataclasses import dataclass

import numpy as np

from dm0_ros.errors import RobotError
from dm0_ros.navigation.habitat import PREFIX, HabitatScene
from dm0_ros.navigation.house import House, load_house
from dm0_ros.navigation.limits import approach_twist
from dm0_ros.navigation.pursuit import integrate, wrap
from dm0_ros.navigation.views import Camera, Place, View
from dm0_ros.robots.spec import RobotSpec
from dm0_ros.sim.house_scene import HousePlace

_TOUCH = 1e-5  # m: a drive that is shorter than wanted by more has met something


@dataclass(frozen=True)
class Odometry:
    """Where the base is by its wheels: since the start, in the frame in which it started."""

    pose: np.ndarray  # (3,) m, m, rad
    twist: np.ndarray  # (3,) m/s ahead, m/s to the left, rad/s; in the body frame
    travelled: float  # m


class HouseSimulator:
    """One base in one house. Not thread-safe; look from the thread that made it.

    Raises `RobotError` where the robot's YAML has no base or no simulation section.
    """

    def __init__(self, spec: RobotSpec, place: Place | House | None = None, seed: int = 0) -> None:
        if spec.base is None or spec.simulation is None:
            raise RobotError(f"{spec.name}: a house needs a robot with a base and a simulation")
        self.spec, self.base = spec, spec.base
        if place is None:
            place = open_place(spec.simulation.world, self.base.radius)
        self.place = HousePlace(place, self.base.radius) if isinstance(place, House) else place
        self._cameras: dict[str, Camera] = {}
        self._seeds = np.random.SeedSequence(seed)
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Put the base at a random place. The same seed gives the same place.

        Without a seed, the next place of the sequence that the constructor's seed began.
        """
        random = np.random.default_rng(self._seeds.spawn(1)[0] if seed is None else seed)
        (place,) = self.place.sample(random, 1)
        self.arrange(np.array([*place, random.uniform(-np.pi, np.pi)]))

    def arrange(self, pose: np.ndarray) -> None:
        """Start at rest at ``pose`` (3,). Raises `RobotError` where the base does not fit."""
        pose = np.array(pose, float)
        if not self.place.is_free(pose[:2])[0]:
            raise RobotError(f"{self.place.name}: the base does not fit at {pose[:2].tolist()}")
        self.pose, self.start = pose, pose.copy()
        self.twist, self._wanted = np.zeros(3), np.zeros(3)
        self.time = self._commanded = self.travelled = 0.0
        self.bumps = 0  # times that it has driven into something
        self._touching = False

    def command(self, twist) -> None:
        """Set the wanted velocities (3,): m/s ahead, m/s to the left, rad/s to the left.

        Raises `RobotError` where they are not finite, or sideways with a base that cannot.
        """
        twist = np.array(twist, float)
        if twist.shape != (3,) or not np.isfinite(twist).all():
            raise RobotError("simulator: velocities must be three finite numbers")
        if twist[1] and not self.base.holonomic:
            raise RobotError(f"simulator: {self.spec.name} cannot drive sideways; vy must be 0")
        self._wanted, self._commanded = twist, self.time

    def step(self, duration: float) -> None:
        """Advance by ``duration`` s, in whole physics steps."""
        dt = self.spec.simulation.physics_step
        for _ in range(round(duration / dt)):
            if self.time - self._commanded > self.base.command_timeout:
                self._wanted = np.zeros(3)
            self.twist = approach_twist(self.twist, self._wanted, self.base, dt)
            self._move(dt)
            self.time += dt

    def _move(self, dt: float) -> None:
        wanted = integrate(self.pose, self.twist, dt)
        reached = self.place.drive(self.pose[:2], wanted[:2])
        touches = bool(np.linalg.norm(reached - wanted[:2]) > _TOUCH)
        if touches:
            self.twist[:2] = 0.0
        self.bumps += touches and not self._touching
        self._touching = touches
        self.travelled += float(np.linalg.norm(reached - self.pose[:2]))
        self.pose = np.array([*reached, wrap(wanted[2])])

    def odometry(self) -> Odometry:
        """What the wheels say."""
        gap = self.pose[:2] - self.start[:2]
        cosine, sine = np.cos(self.start[2]), np.sin(self.start[2])
        place = np.array([cosine * gap[0] + sine * gap[1], cosine * gap[1] - sine * gap[0]])
        pose = np.array([*place, wrap(self.pose[2] - self.start[2])])
        return Odometry(pose, self.twist.copy(), self.travelled)

    def look(self, slot: str, want_depth: bool = False) -> View:
        """What a camera of the robot sees."""
        camera = self.spec.simulation.cameras[slot]
        if slot not in self._cameras:
            self._cameras[slot] = self.place.open_camera(
                camera.width, camera.height, camera.field_of_view
            )
        cosine, sine = np.cos(self.pose[2]), np.sin(self.pose[2])
        x, y, z = camera.position
        position = (self.pose[0] + cosine * x - sine * y, self.pose[1] + sine * x + cosine * y, z)
        ahead, left, up = np.subtract(camera.target, camera.position)
        yaw = self.pose[2] + np.arctan2(left, ahead)
        return self._cameras[slot].look(
            position, yaw, float(np.arctan2(up, np.hypot(ahead, left))), want_depth
        )

    def close(self) -> None:
        """Free the renderers."""
        for camera in self._cameras.values():
            camera.close()
        self._cameras.clear()


def open_place(world: str, radius: float) -> Place:
    """The house ``config/worlds/<world>.yaml``, or a scene of habitat-sim: ``habitat:<file>``."""
    if world.startswith(PREFIX):
        return HabitatScene(world.removeprefix(PREFIX))
    return HousePlace(load_house(world), radius)
