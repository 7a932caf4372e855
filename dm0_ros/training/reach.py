# SPDX-License-Identifier: Apache-2.0
"""A scripted expert: how the fingertips should get onto an object, from wherever they are.

Its motion depends on the present place alone, not on time since some start. A plan made half-way
therefore continues the earlier one, and a policy that imitates it has no seams to learn.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
import pinocchio
import pinocchio.utils

from dm0_ros.errors import RobotError
from dm0_ros.robots.inverse import solve
from dm0_ros.robots.kinematics import Chain, load_urdf
from dm0_ros.robots.spec import EndEffector, RobotSpec
from dm0_ros.sim.world import Phase

_SUBSTEPS = 5  # of integration per row
_SETTLING = 0.5  # s in which joint errors at the start of a plan fade out
_STEPS = 13  # from home to a place that is not found at once
_RISE = 0.05  # m below the wanted height at which sideways motion stops


@dataclass(frozen=True)
class Region:
    """A box of fingertip places, m in the robot's root frame, and how the hand is held there.

    As at home, unless the arm needs to turn it. ``lean``: how much further the fingers point down
    at the bottom of the box than at the height of home (rad), and in proportion between.
    ``follow``: whether the hand turns with its direction as seen from the arm's base.
    """

    lower: tuple[float, float, float]
    upper: tuple[float, float, float]
    lean: float = 0.0
    follow: bool = False


@dataclass(frozen=True)
class ReachSettings:
    """Shape and speed of the motion."""

    speed: float  # m/s
    acceleration: float  # m/s2
    clearance: float  # m
    funnel: float  # m
    press: float  # m


class PoseTable:
    """Joint positions for fingertip places in a region, on a grid.

    Solving inverse kinematics for each of millions of rows would take hours. On this grid linear
    interpolation is within a millimetre, which a test checks. Places are in the root link of the
    URDF, which is the world of the simulator, whichever link the arm stands on.
    """

    def __init__(
        self, spec: RobotSpec, end: EndEffector, region: Region, spacing: float = 0.025
    ) -> None:
        urdf = load_urdf(spec)
        root = _find_root(urdf)
        self.chain = Chain(urdf, root, end.tool)
        self.names = self.chain.joint_names
        joints = tuple(joint for joint in spec.joints if joint.name in self.names)
        self.lower = np.asarray(region.lower, float)
        self.shape = np.ceil((np.asarray(region.upper) - self.lower) / spacing).astype(int) + 1
        self.spacing = spacing
        still = Chain(urdf, root, end.base).pose({})[:2, 3] if end.base != root else np.zeros(2)
        hold = _Hold(self.chain.pose(spec.home), still, region)
        table = np.empty((*self.shape, len(self.names)))
        for index in np.ndindex(*self.shape):
            place = self.lower + np.array(index) * spacing
            found = self._solve(hold, place, joints, spec.home)
            table[index] = [found[name] for name in self.names]
        self._table = table

    def _solve(self, hold, place, joints, home: Mapping[str, float]) -> Mapping[str, float]:
        """Joint positions at a place: straight from home, or in small steps where limits bite."""
        try:
            return solve(self.chain, joints, hold.pose(place), home)
        except RobotError:
            start, found = self.place(home), home
            for share in np.linspace(0.0, 1.0, _STEPS):
                found = solve(
                    self.chain, joints, hold.pose(start + share * (place - start)), found
                )
            return found

    def place(self, positions: Mapping[str, float]) -> np.ndarray:
        """Where the fingertips (3,) m are for joint positions by name."""
        return self.chain.pose(positions)[:3, 3]

    def positions(self, places: np.ndarray) -> np.ndarray:
        """Joint positions (..., J) rad for fingertip places (..., 3) m, clipped to the grid."""
        scaled = (np.asarray(places) - self.lower) / self.spacing
        scaled = np.clip(scaled, 0, self.shape - 1 - 1e-9)
        base = scaled.astype(int)
        part = scaled - base
        total = np.zeros((*scaled.shape[:-1], len(self.names)))
        for corner in np.ndindex(2, 2, 2):
            weight = np.prod(np.where(corner, part, 1 - part), axis=-1)
            index = base + np.array(corner)
            total += weight[..., None] * self._table[index[..., 0], index[..., 1], index[..., 2]]
        return total


class _Hold:
    """How the hand is held at a place: see `Region`."""

    def __init__(self, home: np.ndarray, base: np.ndarray, region: Region) -> None:
        self._home, self._base, self._region = home, base, region
        self._ahead = self._direction(home[:3, 3])

    def _direction(self, place: np.ndarray) -> float:
        across, along = (place[:2] - self._base)[::-1]
        return float(np.arctan2(across, along))

    def pose(self, place: np.ndarray) -> np.ndarray:
        """Pose (4, 4) of the fingertips at ``place`` (3,)."""
        pose, region = self._home.copy(), self._region
        pose[:3, 3] = place
        if region.lean:
            height = self._home[2, 3]
            share = np.clip((height - place[2]) / (height - region.lower[2]), 0.0, 1.0)
            ahead = pinocchio.utils.rotate("z", self._ahead)
            down = ahead @ pinocchio.utils.rotate("y", region.lean * share) @ ahead.T
            pose[:3, :3] = down @ pose[:3, :3]
        if region.follow:
            turn = self._direction(place) - self._ahead
            pose[:3, :3] = pinocchio.utils.rotate("z", turn) @ pose[:3, :3]
        return pose


def _find_root(urdf: str) -> str:
    """The link that no joint carries."""
    robot = ElementTree.fromstring(urdf)
    carried = {joint.find("child").get("link") for joint in robot.iter("joint")}
    return next(link.get("name") for link in robot.iter("link") if link.get("name") not in carried)


class ReachExpert:
    """Plans for touching an object's top with the fingertips."""

    def __init__(self, table: PoseTable, settings: ReachSettings) -> None:
        self.table, self.settings = table, settings

    def plan(self, joints: np.ndarray, targets: np.ndarray, rows: int, step: float) -> np.ndarray:
        """Joint positions (N, rows, J) rad, row 0 now, that touch each of ``targets`` (N, 3).

        ``joints`` (J,) is where the arm is. Errors of the arm against the table fade out.
        """
        start = self.table.place(dict(zip(self.table.names, joints, strict=True)))
        places = self.path(np.broadcast_to(start, targets.shape), targets, rows, step)
        ideal = self.table.positions(places)
        return fade(ideal, joints, step)

    def phases(self, joints: np.ndarray, targets: np.ndarray) -> tuple[Phase, ...]:
        """What a plan from ``joints`` (J,) begins with, for each of ``targets`` (N, 3)."""
        start = self.table.place(dict(zip(self.table.names, joints, strict=True)))
        beside = self._measure_side(np.broadcast_to(start, targets.shape), targets)[2]
        return tuple(Phase.ABOVE if share == 1.0 else Phase.LOWER for share in beside)

    def path(self, start: np.ndarray, targets: np.ndarray, rows: int, step: float) -> np.ndarray:
        """Fingertip places (N, rows, 3) m from ``start`` (N, 3) to the tops ``targets`` (N, 3)."""
        dt = step / _SUBSTEPS
        place = np.array(start, float)
        path = [place]
        for _ in range(rows - 1):
            for _ in range(_SUBSTEPS):
                place = place + self._step(place, targets, dt)
            path.append(place)
        return np.stack(path, axis=1)

    def _step(self, place: np.ndarray, targets: np.ndarray, dt: float) -> np.ndarray:
        settings = self.settings
        sideways, distance, beside = self._measure_side(place, targets)
        # Smoothstep: the descent begins and ends without a corner in the path.
        lift = beside * beside * (3 - 2 * beside) * settings.clearance
        height = targets[:, 2] - settings.press + lift - place[:, 2]
        free = np.clip(1 - height / _RISE, 0.05, 1.0)
        move = approach(settings, distance, dt) * free
        direction = sideways / np.maximum(distance, 1e-9)[:, None]
        climb = np.sign(height) * approach(settings, np.abs(height), dt)
        return np.column_stack([direction * move[:, None], climb])

    def _measure_side(self, place: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, ...]:
        """The way sideways (N, 2) m, its length (N,) m, and which share of the funnel's it is."""
        sideways = targets[:, :2] - place[:, :2]
        distance = np.linalg.norm(sideways, axis=1)
        return sideways, distance, np.clip(distance / self.settings.funnel, 0.0, 1.0)


def approach(settings: ReachSettings, distance: np.ndarray, dt: float) -> np.ndarray:
    """Length of the next step (N,) m: as fast as allowed, braking to arrive at rest."""
    braking = np.sqrt(2 * settings.acceleration * distance)
    return np.minimum(np.minimum(braking, settings.speed) * dt, distance)


def fade(ideal: np.ndarray, joints: np.ndarray, step: float) -> np.ndarray:
    """Rows (N, rows, J) that begin at ``joints`` (J,) and soon are ``ideal``."""
    fading = np.exp(-np.arange(ideal.shape[1]) * step / _SETTLING)[:, None]
    return ideal + (joints - ideal[:, :1]) * fading
