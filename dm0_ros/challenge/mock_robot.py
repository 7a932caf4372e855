# SPDX-License-Identifier: Apache-2.0
"""A robot of the mock platform: it does what it is sent, in time, and refuses what no arm can do.

It has no thread: where it is, and what is left of its queue, follows from the clock.
"""

import io
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from dm0_ros.challenge.errors import ChallengeError
from dm0_ros.challenge.table import ChallengeTask, MockRules, load_station, load_table30
from dm0_ros.challenge.wire import Wire, make_wire
from dm0_ros.robots.kinematics import Chain, euler_from_pose, load_urdf
from dm0_ros.robots.layouts import Space
from dm0_ros.robots.poses import POSITION, quaternions_from_euler
from dm0_ros.robots.spec import RobotSpec

SLOTS = ("high", "left_hand", "right_hand")
_SLACK = 1e-6  # of limits, for numbers that went through text


class Refusal(Exception):
    """A chunk that the robot does not take, and why. Becomes the answer's message."""


class MockRobot:
    """One robot at home, in the joint or pose space that the first question of a job chooses."""

    def __init__(self, task: ChallengeTask, now: Callable[[], float]) -> None:
        """``now``: s of the mock's clock."""
        self._task = task
        self._robot, self._station = load_station(task)
        self._rules: MockRules = load_table30().mock
        self._now = now
        self._wires: dict[str, Wire] = {}
        self.executed = 0  # chunks that came to their end
        self.rest()

    def rest(self) -> None:
        """Go home with an empty queue; the next question chooses the space again."""
        self._queue: deque[tuple[float, np.ndarray, bool]] = deque()
        self.action_type = ""  # that the job has chosen
        self._row = np.empty(0)
        self.executed = 0

    def clear(self) -> None:
        """Forget what is queued, where it is."""
        self._advance()
        self._queue.clear()

    def look(self, action_type: str) -> tuple[list[float], int]:
        """Where it is, in the platform's columns, and how many rows are pending."""
        self._choose(action_type)
        self._advance()
        return self._row.tolist(), len(self._queue)

    def take(self, action_type: str, rows: object, duration: object) -> None:
        """Queue rows of ``duration`` s each. Raises `Refusal`."""
        wire = self._choose(action_type)
        self._advance()
        values = _read_rows(rows, wire.width, self._rules.longest_queue - len(self._queue))
        longest = self._rules.longest_row
        if type(duration) not in (int, float) or not 0 < duration <= longest:
            raise Refusal(f"duration is {duration!r} s; above 0 and up to {longest:g} can be")
        before = self._queue[-1][1] if self._queue else self._row
        self._check(wire, np.vstack([before, values]), float(duration))
        begin = self._queue[-1][0] if self._queue else self._now()
        for index, row in enumerate(values):
            end = begin + (index + 1) * duration
            self._queue.append((end, row, index == len(values) - 1))

    def _advance(self) -> None:
        while self._queue and self._queue[0][0] <= self._now():
            _, self._row, is_last = self._queue.popleft()
            self.executed += is_last

    def _choose(self, action_type: str) -> Wire:
        if self.action_type not in ("", action_type):
            raise Refusal(f"this job's action type is {self.action_type}, not {action_type}")
        if action_type not in self._wires:
            self._wires[action_type] = self._make_wire(action_type)
        wire = self._wires[action_type]
        if not self.action_type:
            self.action_type = action_type
            self._row = np.array(wire.write_rows(_find_home(self._robot, wire)[None])[0])
        return wire

    def _make_wire(self, action_type: str) -> Wire:
        spaces = {name: space for space, name in self._station.action_types.items()}
        if action_type not in spaces:
            known = ", ".join(spaces)
            raise Refusal(f"this robot has no action type '{action_type}'; it has {known}")
        space = Space(spaces[action_type])
        layout = next(item for item in self._robot.layouts.values() if item.space is space)
        return make_wire(self._robot, self._station, self._task, layout.columns, space)

    def _check(self, wire: Wire, rows: np.ndarray, duration: float) -> None:
        """Rows (H + 1, W), the first where the robot is, within what it can do."""
        grippers = np.isin(wire.layout.columns, wire.layout.absolute)
        if wire.layout.space is Space.EEF_POSE:
            self._check_poses(wire, rows, duration)
            sent = rows[1:, -int(grippers.sum()) :]
        else:
            self._check_joints(wire, rows[:, ~grippers], duration)
            sent = rows[1:, grippers]
        low, high = wire.gripper
        if (sent < low - _SLACK).any() or (sent > high + _SLACK).any():
            raise Refusal(f"a gripper is sent outside of {low:g} to {high:g}")

    def _check_joints(self, wire: Wire, rows: np.ndarray, duration: float) -> None:
        joints = {joint.name: joint for joint in self._robot.joints}
        names = [name for name in wire.layout.columns if name in joints]
        rates = np.abs(np.diff(rows, axis=0)).max(axis=0) / duration
        for name, column, rate in zip(names, rows[1:].T, rates, strict=True):
            joint = joints[name]
            if column.min() < joint.lower - _SLACK or column.max() > joint.upper + _SLACK:
                raise Refusal(f"{name} leaves {joint.lower:g} to {joint.upper:g} rad")
            if rate > joint.velocity + _SLACK:
                raise Refusal(f"{name} moves at {rate:.2f} rad/s; {joint.velocity:g} is its most")

    def _check_poses(self, wire: Wire, rows: np.ndarray, duration: float) -> None:
        places, rules = rows[:, : len(POSITION)], self._rules
        if wire.quaternions:
            turns = rows[:, 3:7]
            if np.abs(np.linalg.norm(turns, axis=1) - 1).max() > 1e-3:
                raise Refusal("a quaternion has not length 1")
        else:
            turns = quaternions_from_euler(rows[:, 3:6])
        if (farthest := np.linalg.norm(places, axis=1).max()) > rules.reach:
            raise Refusal(f"a pose is {farthest:.2f} m from the base; {rules.reach:g} m is reach")
        speed = np.linalg.norm(np.diff(places, axis=0), axis=1).max() / duration
        cosines = np.clip(np.abs((turns[1:] * turns[:-1]).sum(axis=1)), 0, 1)
        turn = 2 * np.arccos(cosines.min()) / duration
        if speed > rules.tool_speed:
            raise Refusal(f"the tool moves at {speed:.2f} m/s; {rules.tool_speed:g} is its most")
        if turn > rules.tool_turn:
            raise Refusal(f"the tool turns at {turn:.2f} rad/s; {rules.tool_turn:g} is its most")


def _read_rows(rows: object, width: int, room: int) -> np.ndarray:
    try:
        values = np.array(rows, np.float64)
    except (TypeError, ValueError) as cause:
        raise Refusal(f"actions are no rows of numbers: {cause}") from cause
    if values.ndim != 2 or not len(values) or values.shape[1] != width:
        raise Refusal(f"actions have shape {values.shape}; (rows, {width}) is expected")
    if not np.isfinite(values).all():
        raise Refusal("actions are not finite")
    if len(values) > room:
        raise Refusal(f"queue full: {len(values)} rows, room for {room}")
    return values


def _find_home(robot: RobotSpec, wire: Wire) -> np.ndarray:
    """The robot's home (C,) in the wire's columns, SI."""
    if wire.layout.space is Space.JOINT_POSITION:
        return np.array([robot.home[name] for name in wire.layout.columns])
    if len(robot.end_effectors) != 1:
        raise ChallengeError(f"{robot.name}: the platform has poses for one arm only")
    (arm,) = robot.end_effectors
    pose = Chain(load_urdf(robot), arm.base, arm.tip).pose(robot.home)
    grippers = [robot.home[name] for name in robot.gripper_names]
    return np.concatenate([pose[:3, 3], euler_from_pose(pose), grippers])


def draw_picture(slot: str, size: tuple[int, int], row: Sequence[float]) -> bytes:
    """A made-up view as PNG: another colour for each slot, and a bar that moves with the arm."""
    width, height = size
    ramp = np.linspace(0, 255, width, dtype=np.uint8)
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., SLOTS.index(slot) if slot in SLOTS else 0] = ramp
    for index, value in enumerate(row):
        at = round((0.5 + np.arctan(value) / np.pi) * (width - 1))
        top, bottom = (round(height * (index + part) / len(row)) for part in (0, 1))
        picture[top:bottom, max(0, at - 4) : at + 5] = 255
    target = io.BytesIO()
    Image.fromarray(picture).save(target, "PNG", compress_level=1)
    return target.getvalue()
