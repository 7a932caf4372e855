# SPDX-License-Identifier: Apache-2.0
"""Drives a base along a motion: velocities out, odometry in, within the base's limits.

A plain class with the clock as an argument. Whatever ends a motion has a name: the base then
brakes within its limits and rests until the next motion.
"""

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np

from dm0_ros.errors import PlanError
from dm0_ros.navigation.limits import approach_twist
from dm0_ros.navigation.pursuit import wrap
from dm0_ros.navigation.routes import Motion, Route, Velocities
from dm0_ros.robots.base import Base

_LOOK_AHEAD = 0.25  # m along the route: the place that is driven to
_GAIN = 2.5  # rad/s for each rad of heading error
_ARRIVAL = 0.03  # m from the end of a route
_FACING = 0.05  # rad from its last heading
_BLOCKED_TIME = 1.0  # s of wanted motion without any
_BLOCKED_MOTION = 0.02  # m or rad: less is no motion
_ASKED = 0.1  # share of full speed: less is not asking for motion


class State(str, Enum):
    """What the base does."""

    IDLE = "IDLE"  # nothing was asked of it yet
    DRIVING = "DRIVING"
    ARRIVED = "ARRIVED"  # at the end of a route, or after the last velocities
    STOPPED = "STOPPED"  # before the end; `reason` says why


@dataclass(frozen=True)
class Fix:
    """One odometry reading."""

    pose: np.ndarray  # (3,) m, m, rad, in the odometry's frame
    stamp: float  # s


class BaseController:
    """Not thread-safe. Times are seconds of one clock, that of the odometry's stamps."""

    def __init__(self, base: Base, odometry_timeout: float) -> None:
        self._base, self._timeout = base, odometry_timeout
        self.state, self.reason = State.IDLE, "nothing to do yet"
        self.twist = np.zeros(3)  # of the last tick
        self._motion: Motion | None = None
        self._fix: Fix | None = None
        self._ticked: float | None = None
        self._moved: tuple[float, np.ndarray] | None = None  # last motion of the base: when, where

    def note(self, fix: Fix) -> None:
        """Take an odometry reading; raises `PlanError` where it is not finite."""
        if not np.isfinite(fix.pose).all():
            raise PlanError("odometry is not finite; check the base's driver")
        self._fix = fix

    def drive(self, motion: Motion, origin: Fix) -> None:
        """Begin a motion, given in the frame of the base at ``origin``; it replaces the last.

        Velocities begin at ``origin.stamp``: those that are over already are left out.
        """
        if self._motion is None:
            self._moved = None
        self._motion, self._origin = motion, origin
        rests = motion.stays if isinstance(motion, Route) else not np.any(motion.rows)
        if rests:
            self.stop("the plan says stop")
        else:
            self.state, self.reason = State.DRIVING, ""

    def stop(self, reason: str) -> None:
        """Brake, and rest until the next motion."""
        self._motion = None
        self.state, self.reason = State.STOPPED, reason

    def tick(self, now: float) -> np.ndarray:
        """The velocities (3,: m/s ahead, m/s left, rad/s) to command at ``now``."""
        dt = 0.0 if self._ticked is None else max(now - self._ticked, 0.0)
        self._ticked = now
        wanted = np.zeros(3)
        if self._motion is not None:
            self._watch(now)
        if self._motion is not None:
            wanted = self._steer(now)
        self.twist = approach_twist(self.twist, wanted, self._base, dt)
        return self.twist

    def _watch(self, now: float) -> None:
        if self._fix is None:
            self.stop("there is no odometry yet")
            return
        age = now - self._fix.stamp
        if age > self._timeout:
            self.stop(f"the last odometry is {age:.2f} s old, more than {self._timeout:g} s")
            return
        pose = self._fix.pose
        share = max(
            np.linalg.norm(self.twist[:2]) / self._base.velocity,
            abs(self.twist[2]) / self._base.turn_velocity,
        )
        if self._moved is None or share < _ASKED or _differ(pose, self._moved[1]):
            self._moved = (now, pose)
        elif now - self._moved[0] > _BLOCKED_TIME:
            self.stop(f"blocked: told to move, and {_BLOCKED_TIME:g} s without motion")

    def _steer(self, now: float) -> np.ndarray:
        if isinstance(self._motion, Velocities):
            elapsed = now - self._origin.stamp
            if elapsed >= self._motion.duration:
                self._arrive("the plan's velocities are over")
                return np.zeros(3)
            return self._keep_to_base(self._motion.at(elapsed))
        place, yaw = self._where()
        end = self._motion.poses[-1]
        left = float(np.linalg.norm(end[:2] - place))
        turn = wrap(end[2] - yaw)
        if left <= _ARRIVAL or (self._close(place) and not self._base.holonomic):
            if abs(turn) <= _FACING:
                self._arrive("at the end of the route")
                return np.zeros(3)
            return np.array([0.0, 0.0, _GAIN * turn])
        gap = self._motion.ahead(place, _LOOK_AHEAD) - place
        speed = min(self._base.velocity, math.sqrt(2 * self._base.acceleration * left))
        if self._base.holonomic:
            direction = _rotate(gap / max(np.linalg.norm(gap), 1e-9), -yaw)
            return np.array([*(speed * direction), _GAIN * turn])
        error = wrap(math.atan2(gap[1], gap[0]) - yaw)
        return np.array([speed * max(0.0, math.cos(error)) ** 3, 0.0, _GAIN * error])

    def _close(self, place: np.ndarray) -> bool:
        """Whether the end lies beside a base that cannot drive there without a detour."""
        gap = self._motion.poses[-1][:2] - place
        ahead = _rotate(gap, -self._where()[1])[0]
        return bool(np.linalg.norm(gap) <= 2 * _ARRIVAL and ahead <= 0)

    def _where(self) -> tuple[np.ndarray, float]:
        """Place (2,) and yaw of the base in the motion's frame."""
        gap = self._fix.pose - self._origin.pose
        return _rotate(gap[:2], -self._origin.pose[2]), wrap(gap[2])

    def _keep_to_base(self, twist: np.ndarray) -> np.ndarray:
        return twist if self._base.holonomic else twist * [1.0, 0.0, 1.0]

    def _arrive(self, reason: str) -> None:
        self._motion = None
        self.state, self.reason = State.ARRIVED, reason


def _differ(pose: np.ndarray, other: np.ndarray) -> bool:
    gap = float(np.linalg.norm(pose[:2] - other[:2]))
    return max(gap, abs(wrap(pose[2] - other[2]))) > _BLOCKED_MOTION


def _rotate(vector: np.ndarray, angle: float) -> np.ndarray:
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([cosine * vector[0] - sine * vector[1], sine * vector[0] + cosine * vector[1]])
