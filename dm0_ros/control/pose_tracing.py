# SPDX-License-Identifier: Apache-2.0
"""Joint positions along a path of poses, from where the arm is."""

from collections.abc import Iterator
from math import ceil
from typing import NamedTuple

import numpy as np
import pinocchio

from dm0_ros.control.kinematics import Arm, Place
from dm0_ros.control.pose import PosePath
from dm0_ros.control.pose_timing import JointPath
from dm0_ros.errors import PlanError
from dm0_ros.robots.inverse import pose_error

# How far joints may be off the path at the nodes and half-way between them.
_DISTANCE, _ANGLE = 1e-4, np.deg2rad(0.02)  # m, rad
_HALVINGS = 9  # of the step between nodes, where joints turn fast
_LARGEST_TURN = 0.12  # rad of a joint from node to node, so that neighbours tell its velocity
_ITERATIONS = 12  # to the next node, a small step away
_REACH_ITERATIONS = 60  # to a row from further away
_STRIDE = (0.05, 0.2)  # m, rad: from the arm to row 0 in steps of at most this
_MOST_STRIDES = 50  # enough for the largest arm; what is further is out of reach


class _Node(NamedTuple):
    """Where the arm is on the path, and how its joints go on from there."""

    time: float  # s
    joints: np.ndarray  # (J,) rad
    velocity: np.ndarray  # (J,) rad/s


class _OffPathError(Exception):
    """The arm cannot take a step along the path as it is."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place


def trace(
    arm: Arm, path: PosePath, present: np.ndarray, step: float, relax: bool = True
) -> JointPath:
    """Follow a path from node to node, near the ``present`` joint positions (J,).

    Nodes are ``step`` seconds apart, which divides the path's length, and closer where the joints
    turn fast. For ``relax`` see `Arm.follow`. Raises `PlanError` that names the row which cannot
    be reached.
    """
    finest = 2**_HALVINGS
    unit = step / finest
    last = round(path.end / unit)
    joints = _reach(arm, path, present)
    velocity = first = arm.follow(joints, path.sample(0.0)[1], relax)
    times, track, at, size = [0.0], [joints], 0, finest
    while at < last:
        start = _Node(at * unit, joints, velocity)
        try:
            joints, velocity = _advance(arm, path, start, size * unit, relax)
        except _OffPathError as error:
            if size == 1:
                raise _explain(arm, path, path.row_after(at * unit), error.place) from None
            size //= 2
            continue
        at += size
        times.append(at * unit)
        track.append(joints)
        if size < finest and at % (2 * size) == 0:
            size *= 2
    return JointPath(np.array(times), np.stack(track), first)


def _advance(
    arm: Arm, path: PosePath, start: _Node, step: float, relax: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Joints and their velocities one step on.

    Raises `_OffPathError` where they are off the path at the end of the step or half-way, or the
    step is too large.
    """
    time, joints, velocity = start
    target, twist = path.sample(time + step)
    place = arm.converge(joints + step * velocity, target, _ITERATIONS)
    if not place.within(_DISTANCE, _ANGLE):
        raise _OffPathError(place)
    ahead = arm.follow(place.joints, twist, relax)
    middle = (joints + place.joints) / 2 + step / 8 * (velocity - ahead)
    error = pose_error(path.pose(time + step / 2), arm.chain.pose_at(middle))
    turn = np.max(np.abs(place.joints - joints))
    if turn > _LARGEST_TURN or not Place(middle, error).within(_DISTANCE, _ANGLE):
        raise _OffPathError(place)
    return place.joints, ahead


def _reach(arm: Arm, path: PosePath, present: np.ndarray) -> np.ndarray:
    """Joints at row 0, found along the straight way there from the present pose."""
    target = path.pose(0.0)
    joints = present
    for pose in _between(arm.chain.pose_at(present), target):
        joints = arm.converge(joints, pose, _ITERATIONS).joints
    place = arm.converge(joints, target, _REACH_ITERATIONS)
    if not place.within(_DISTANCE, _ANGLE):
        raise _explain(arm, path, 0, place)
    return place.joints


def _between(start: np.ndarray, target: np.ndarray) -> Iterator[np.ndarray]:
    """Poses (4, 4) from ``start``, left out, to ``target``, in strides."""
    way = pose_error(target, start)
    lengths = np.linalg.norm(way[:3]) / _STRIDE[0], np.linalg.norm(way[3:]) / _STRIDE[1]
    count = min(ceil(max(*lengths, 1.0)), _MOST_STRIDES)
    for index in range(1, count + 1):
        pose = start.copy()
        pose[:3, 3] += way[:3] * index / count
        pose[:3, :3] = pinocchio.exp3(way[3:] * index / count) @ start[:3, :3]
        yield pose


def _explain(arm: Arm, path: PosePath, row: int, place: Place) -> PlanError:
    """Why the path cannot be followed to a row, but as far as ``place``."""
    target = path.row_pose(row)
    there = arm.converge(place.joints, target, _REACH_ITERATIONS)
    x, y, z = target[:3, 3]
    name = f"{arm.name}: row {row} at ({x:.3f}, {y:.3f}, {z:.3f})"
    if there.within(_DISTANCE, _ANGLE):
        return PlanError(
            f"{name} is reached from the row before only by a leap of the joints, through a "
            "singularity or from one end of a joint's range to the other; lead the path around"
        )
    distance, angle = np.linalg.norm(there.error[:3]), np.linalg.norm(there.error[3:])
    parts = [(distance > _DISTANCE, f"{distance:.4g} m")]
    parts += [(angle > _ANGLE, f"{np.rad2deg(angle):.2g} degrees")]
    lacking = " and ".join(text for far, text in parts if far)
    stuck = arm.at_limit(there.joints)
    reason = "the arm is stretched out or folded as far as it goes"
    if stuck:
        which = f"joint {stuck[0]} is" if len(stuck) == 1 else f"joints {', '.join(stuck)} are"
        reason = f"{which} at {'its limit' if len(stuck) == 1 else 'their limits'}"
    return PlanError(f"{name} is {lacking} out of reach; {reason}")
