# SPDX-License-Identifier: Apache-2.0
"""A scripted expert: how the fingertips should get onto an object, from wherever they are.

Its motion depends on the present place alone, not on time since some start. A plan made half-way
therefore continues the earlier one, and a policy that imitates it has no seams to learn.
"""

from dataclasses import dataclass

import numpy as np

from dm0_ros.robots.inverse import solve
from dm0_ros.robots.kinematics import Chain, load_urdf
from dm0_ros.robots.spec import RobotSpec

_SUBSTEPS = 5  # of integration per row
_SETTLING = 0.5  # s in which joint errors at the start of a plan fade out
_RISE = 0.05  # m below the wanted height at which sideways motion stops


@dataclass(frozen=True)
class ReachSettings:
    """Shape and speed of the motion."""

    speed: float  # m/s
    acceleration: float  # m/s2
    clearance: float  # m
    funnel: float  # m
    press: float  # m


class PoseTable:
    """Joint positions for fingertip places with the home orientation, on a grid.

    Solving inverse kinematics for each of millions of rows would take hours. On this grid linear
    interpolation is within a millimetre, which a test checks.
    """

    def __init__(self, spec: RobotSpec, lower, upper, spacing: float = 0.025) -> None:
        end = spec.end_effectors[0]
        self.chain = Chain(load_urdf(spec), end.base, end.tool)
        self.names = self.chain.joint_names
        joints = tuple(joint for joint in spec.joints if joint.name in self.names)
        self.lower = np.asarray(lower, float)
        self.shape = np.ceil((np.asarray(upper) - self.lower) / spacing).astype(int) + 1
        self.spacing = spacing
        target = self.chain.pose(spec.home)
        table = np.empty((*self.shape, len(self.names)))
        for index in np.ndindex(*self.shape):
            target[:3, 3] = self.lower + np.array(index) * spacing
            found = solve(self.chain, joints, target, spec.home)
            table[index] = [found[name] for name in self.names]
        self._table = table

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


class ReachExpert:
    """Plans for touching an object's top with the fingertips."""

    def __init__(self, table: PoseTable, settings: ReachSettings) -> None:
        self.table, self.settings = table, settings

    def plan(self, joints: np.ndarray, targets: np.ndarray, rows: int, step: float) -> np.ndarray:
        """Joint positions (N, rows, J) rad, row 0 now, that touch each of ``targets`` (N, 3).

        ``joints`` (J,) is where the arm is. Errors of the arm against the table fade out.
        """
        start = self.table.chain.pose(dict(zip(self.table.names, joints, strict=True)))[:3, 3]
        places = self.path(np.broadcast_to(start, targets.shape), targets, rows, step)
        ideal = self.table.positions(places)
        fading = np.exp(-np.arange(rows) * step / _SETTLING)[:, None]
        return ideal + (joints - ideal[:, :1]) * fading

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
        sideways = targets[:, :2] - place[:, :2]
        distance = np.linalg.norm(sideways, axis=1)
        beside = np.clip(distance / settings.funnel, 0.0, 1.0)
        # Smoothstep: the descent begins and ends without a corner in the path.
        lift = beside * beside * (3 - 2 * beside) * settings.clearance
        height = targets[:, 2] - settings.press + lift - place[:, 2]
        free = np.clip(1 - height / _RISE, 0.05, 1.0)
        move = self._approach(distance, dt) * free
        direction = sideways / np.maximum(distance, 1e-9)[:, None]
        climb = np.sign(height) * self._approach(np.abs(height), dt)
        return np.column_stack([direction * move[:, None], climb])

    def _approach(self, distance: np.ndarray, dt: float) -> np.ndarray:
        """Length of the next step (N,) m: as fast as allowed, braking to arrive at rest."""
        braking = np.sqrt(2 * self.settings.acceleration * distance)
        return np.minimum(np.minimum(braking, self.settings.speed) * dt, distance)
