# SPDX-License-Identifier: Apache-2.0
"""Driving along a way with body-frame velocities: what the base should do in the next seconds.

The motion depends on the present pose and the way alone, so that a policy which imitates it has no
memory to learn.
"""

import math
from dataclasses import dataclass

import numpy as np

_SUBSTEPS = 4  # of integration per row
_SPACING = 0.05  # m between points of a way


@dataclass(frozen=True)
class PursuitSettings:
    """Shape and speed of the motion."""

    velocity: float  # m/s
    turn_velocity: float  # rad/s
    look_ahead: float  # m along the way: the point that is driven to
    gain: float  # rad/s for each rad of heading error
    arrival: float  # m from the end at which driving ends
    facing: float  # rad of heading error at the end that is left as it is


def plan_twists(
    pose: np.ndarray,
    ways: list[np.ndarray],
    faces: np.ndarray,
    rows: int,
    step: float,
    settings: PursuitSettings,
) -> np.ndarray:
    """Mean velocities (W, rows, 3: m/s ahead, m/s left, rad/s) of the next ``rows * step`` s.

    One plan for each of ``ways``, (N, 2) each: from ``pose`` (3,) along it, then a turn to look at
    its point of ``faces`` (W, 2), then rest.
    """
    dt, count = step / _SUBSTEPS, len(ways)
    reach = settings.velocity * rows * step + 2 * settings.look_ahead
    points, left = (
        np.stack(part) for part in zip(*(_sample(w, reach) for w in ways), strict=True)
    )
    ahead = round(settings.look_ahead / _SPACING)
    poses, nearest = np.tile(np.asarray(pose, float), (count, 1)), np.zeros(count, int)
    twists = np.zeros((count, rows, 3))
    every, index = np.arange(count), np.arange(points.shape[1])
    for tick in range(rows * _SUBSTEPS):
        gaps = np.linalg.norm(points - poses[:, None, :2], axis=-1)
        # Never back along the way, nor far ahead of where it passes by again.
        gaps[(index < nearest[:, None]) | (index > nearest[:, None] + ahead)] = np.inf
        nearest = gaps.argmin(1)
        remaining = left[every, nearest] + gaps[every, nearest] * (left[every, nearest] == 0)
        aim = points[every, np.minimum(nearest + ahead, points.shape[1] - 1)]
        arrived = remaining <= settings.arrival
        error = _bearing(poses, np.where(arrived[:, None], faces, aim))
        error[arrived & (np.abs(error) <= settings.facing)] = 0.0
        speed = np.minimum(settings.velocity, remaining) * np.maximum(0.0, np.cos(error)) ** 3
        turn = np.clip(settings.gain * error, -settings.turn_velocity, settings.turn_velocity)
        move = np.stack([np.where(arrived, 0.0, speed), np.zeros(count), turn], axis=1)
        poses = integrate(poses, move, dt)
        twists[:, tick // _SUBSTEPS] += move / _SUBSTEPS
    return twists


def _sample(way: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Points (P, 2) along the first ``reach`` m of a way, and how far (P,) it goes on there."""
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(way, axis=0), axis=1))])
    where = np.minimum(np.arange(0.0, reach, _SPACING), lengths[-1])
    return np.stack([np.interp(where, lengths, c) for c in way.T], axis=-1), lengths[-1] - where


def _bearing(poses: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Angles (N,) rad, left is positive, from the headings of poses (N, 3) to points (N, 2)."""
    gaps = points - poses[:, :2]
    return wrap(np.arctan2(gaps[:, 1], gaps[:, 0]) - poses[:, 2])


def wrap(angle):
    """The same angle, or angles, in [-pi, pi)."""
    return (angle + math.pi) % math.tau - math.pi


def integrate(pose: np.ndarray, twist: np.ndarray, dt: float) -> np.ndarray:
    """Pose (..., 3: x, y, yaw) after ``dt`` s of a constant body-frame twist (..., 3): an arc."""
    ahead, left, turn = np.moveaxis(np.asarray(twist, float) * dt, -1, 0)
    # sin(t) / t and (1 - cos(t)) / t by the half angle, which is exact at zero too.
    chord = np.sinc(turn / math.tau)
    along, across = chord * np.cos(turn / 2), chord * np.sin(turn / 2)
    x, y = along * ahead - across * left, across * ahead + along * left
    cosine, sine = np.cos(pose[..., 2]), np.sin(pose[..., 2])
    return np.stack(
        [
            pose[..., 0] + cosine * x - sine * y,
            pose[..., 1] + sine * x + cosine * y,
            pose[..., 2] + turn,
        ],
        axis=-1,
    )


def path_of(twists: np.ndarray, step: float) -> np.ndarray:
    """Body-frame poses (H + 1, 3) that ``twists`` (H, 3) lead through; the first is zero."""
    poses = [np.zeros(3)]
    for twist in twists:
        poses.append(integrate(poses[-1], twist, step))
    return np.array(poses)
