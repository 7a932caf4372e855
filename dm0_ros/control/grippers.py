# SPDX-License-Identifier: Apache-2.0
"""Grippers: openings by time, no faster than they can move. They never hold up the arm."""

import copy

import numpy as np

from dm0_ros.control.plan import Plan
from dm0_ros.robots.spec import GripperMode, RobotSpec


class Grippers:
    """The commanded openings (G,) in m.

    Rows are played straight from one to the next, or held; a change smaller than the hysteresis
    is not obeyed. Makers of grippers give no acceleration limits, so only velocity is bounded.
    """

    def __init__(self, robot: RobotSpec) -> None:
        grippers, executor = robot.grippers, robot.executor
        self._count = len(grippers)
        self._joints = len(robot.joints)
        self._names = robot.gripper_names
        self._speed = np.array([gripper.velocity for gripper in grippers])
        self._hysteresis = np.array([gripper.hysteresis for gripper in grippers])
        self._held = np.array([gripper.mode is GripperMode.HOLD for gripper in grippers])
        self._lead = executor.gripper_latency - executor.actuation_latency  # s before the arm
        self.begin(np.zeros(self._count))

    def begin(self, openings: np.ndarray) -> None:
        """Stand still at ``openings`` (G,)."""
        self.positions = openings.copy()
        self.velocities = np.zeros(self._count)
        self.late = self.velocities > 0  # bool: those that their velocity limit holds up
        self.stay()

    def stay(self) -> None:
        """Follow nothing any more; keep the present opening."""
        self._plan: Plan | None = None
        self._next: tuple[float, Plan] | None = None
        self._target = self.positions

    def follow(self, plan: Plan, begin: float) -> None:
        """Play the grippers' columns of ``plan``, from ``begin`` (s of plan time) on."""
        self._next = (begin, plan)

    def step(self, due: float, dt: float) -> None:
        """Go on by ``dt`` seconds towards what is due at plan time ``due``."""
        if not self._count:
            return
        if self._next and due >= self._next[0]:
            self._plan, self._next = self._next[1], None
        if self._plan is not None:
            wanted = self._rows_at(self._plan, due)
            far = np.abs(wanted - self._target) > self._hysteresis
            self._target = np.where(far, wanted, self._target)
        change = self._target - self.positions
        most = self._speed * dt
        self.late = np.abs(change) > most * (1 + 1e-9)
        change = np.minimum(np.maximum(change, -most), most)
        self.positions = self.positions + change
        self.velocities = change / dt

    def copy(self) -> "Grippers":
        """Another one in the same state, to look ahead with."""
        return copy.copy(self)

    def limited(self) -> tuple[str, ...]:
        """``<joint>: velocity`` of those that are held up."""
        if not self.late.any():
            return ()
        pairs = zip(self._names, self.late, strict=True)
        return tuple(f"{name}: velocity" for name, late in pairs if late)

    @property
    def still(self) -> bool:
        """Whether nothing moves."""
        return not self.velocities.any()

    def played(self, due: float) -> bool:
        """Whether at plan time ``due`` no row is left to come."""
        if self._next:
            return False
        return self._plan is None or due + self._lead >= self._plan.end

    def wanted(self, due: float) -> np.ndarray:
        """Openings (G,) that the plans ask for at a plan time, the present ones where none."""
        plan = self._next[1] if self._next and due >= self._next[0] else self._plan
        return self._rows_at(plan, due) if plan is not None else self._target

    def _rows_at(self, plan: Plan, due: float) -> np.ndarray:
        rows = plan.values[:, self._joints :]
        place = max(0.0, (due + self._lead - plan.start) / plan.step)
        index = min(int(place), len(rows) - 1)
        row, following = rows[index], rows[min(index + 1, len(rows) - 1)]
        straight = row + (place - index) * (following - row)
        return np.where(self._held, row, straight)
