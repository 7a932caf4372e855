# SPDX-License-Identifier: Apache-2.0
"""The newest pictures and joint positions, gathered into one observation or refused."""

import threading
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from dm0_ros.errors import ObservationError
from dm0_ros.policy.observation import order_state
from dm0_ros.policy.proprioception import Proprioception
from dm0_ros.policy.protocol import Observation, PolicySpec
from dm0_ros.robots.spec import RobotSpec

_MEMORY = 2.0  # s of joint positions that are kept


class Gatherer:
    """What a policy's sensors said lately. Any thread may add, one may ask what there is to see.

    Stamps are seconds of one clock. Pictures come as functions that decode them: those that are
    never looked at cost nothing.
    """

    def __init__(self, spec: PolicySpec, robot: RobotSpec) -> None:
        """Raises `ObservationError` where the robot lacks what the policy wants to know of it."""
        self._spec = spec
        self._proprioception = Proprioception(spec.state_names, robot)
        self._max_ages = {camera.slot: camera.max_age for camera in robot.cameras}
        self._joint_age = robot.executor.state_timeout
        self._openings = {g.name: g.opening_per_joint for g in robot.grippers}
        self._lock = threading.Lock()
        self._pictures: dict[str, tuple[float, Callable[[], np.ndarray]]] = {}
        self._joints: dict[str, deque[tuple[float, float]]] = {}

    def add_picture(self, slot: str, stamp: float, decode: Callable[[], np.ndarray]) -> None:
        """A picture of a camera, (height, width, 3) uint8 RGB once decoded."""
        with self._lock:
            self._pictures[slot] = (stamp, decode)

    def add_joints(self, stamp: float, names: Sequence[str], positions: Sequence[float]) -> None:
        """Joint positions as the driver reports them, in any order, any part of the robot."""
        if len(names) != len(positions):
            raise ObservationError(
                f"a joint state has {len(names)} names and {len(positions)} positions; "
                "check the robot's driver"
            )
        with self._lock:
            for name, position in zip(names, positions, strict=True):
                past = self._joints.setdefault(name, deque())
                past.append((stamp, position * self._openings.get(name, 1.0)))
                while stamp - past[0][0] > _MEMORY:
                    past.popleft()

    def clear(self) -> None:
        """Know nothing any more."""
        with self._lock:
            self._pictures.clear()
            self._joints.clear()

    def observe(self, instruction: str, now: float) -> Observation:
        """The newest picture of every slot and the joint positions nearest in time to them.

        Raises `ObservationError` that names what is missing, or stale and how old it is.
        """
        with self._lock:
            pictures = dict(self._pictures)
            joints = {name: tuple(past) for name, past in self._joints.items()}
        stamp = self._check_pictures(pictures, now)
        used = {name: _nearest(past, stamp) for name, past in joints.items()}
        state = self._state(joints, used, now)
        return Observation(
            pictures={slot: pictures[slot][1]() for slot in self._spec.camera_slots},
            state=state,
            instruction=instruction,
            stamp=stamp,
            stamps={slot: pictures[slot][0] for slot in self._spec.camera_slots},
            joint_stamps={name: used[name][0] for name in self._proprioception.measured},
        )

    def check(self, now: float) -> None:
        """Raise what `observe` would, but for what is wrong in a picture; it decodes none."""
        with self._lock:
            pictures = dict(self._pictures)
            joints = {name: (past[-1],) for name, past in self._joints.items()}
        self._check_pictures(pictures, now)
        self._state(joints, {name: past[-1] for name, past in joints.items()}, now)

    def state(self, now: float) -> np.ndarray:
        """The newest state (S,) alone; refused where joints are missing or stale."""
        with self._lock:
            joints = {name: tuple(past) for name, past in self._joints.items()}
        used = {name: _nearest(past, now) for name, past in joints.items()}
        return self._state(joints, used, now)

    def ages(self, now: float) -> dict[str, float]:
        """Seconds since the stamp of the newest picture of every slot; infinite without one."""
        with self._lock:
            stamps = {slot: stamp for slot, (stamp, _) in self._pictures.items()}
        return {slot: now - stamps.get(slot, -np.inf) for slot in self._spec.camera_slots}

    def newest_stamp(self) -> float:
        """Stamp of the newest picture of all; minus infinity without one."""
        with self._lock:
            return max((stamp for stamp, _ in self._pictures.values()), default=-np.inf)

    def _check_pictures(self, pictures: dict, now: float) -> float:
        """Stamp of the newest one, where every slot has one that can be used."""
        for slot in self._spec.camera_slots:
            self._check_picture(slot, pictures, now)
        return max(pictures[slot][0] for slot in self._spec.camera_slots)

    def _check_picture(self, slot: str, pictures: dict, now: float) -> None:
        if slot not in pictures:
            raise ObservationError(
                f"camera '{slot}': no picture yet; check that it publishes, and the remaps"
            )
        age, limit = now - pictures[slot][0], self._max_ages[slot]
        if age > limit:
            raise ObservationError(
                f"camera '{slot}': the newest picture is {age:.2f} s old, and {limit:g} s is "
                "allowed; check the camera and the network"
            )
        if age < -limit:
            raise ObservationError(
                f"camera '{slot}': its stamp is {-age:.2f} s ahead of this clock; "
                "synchronise the clocks, or set use_sim_time alike on all nodes"
            )

    def _state(self, joints: dict, used: dict, now: float) -> np.ndarray:
        """The columns of the measurements ``used``, where the newest of ``joints`` are fine."""
        names = self._proprioception.measured
        positions = {name: position for name, (_, position) in used.items()}
        order_state(positions, names)  # names what is missing
        oldest = min(names, key=lambda name: joints[name][-1][0])
        age = now - joints[oldest][-1][0]
        if age > self._joint_age:
            raise ObservationError(
                f"joint '{oldest}': the newest position is {age:.2f} s old, and "
                f"{self._joint_age:g} s is allowed; check the robot's driver"
            )
        wrong = [name for name in names if not np.isfinite(joints[name][-1][1])]
        if wrong:
            raise ObservationError(
                f"the position of {', '.join(wrong)} is NaN or infinite; check the robot's driver"
            )
        return self._proprioception.state(positions)


def _nearest(past: Sequence[tuple[float, float]], moment: float) -> tuple[float, float]:
    best = past[-1]
    for entry in reversed(past):
        if abs(entry[0] - moment) > abs(best[0] - moment):
            break
        if abs(entry[0] - moment) < abs(best[0] - moment):
            best = entry
    return best
