# SPDX-License-Identifier: Apache-2.0
"""What a robot may be asked to do, and the check that a plan passes before it is followed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dm0_ros.control.plan import Chunk
from dm0_ros.errors import PlanError
from dm0_ros.robots.layouts import BASE_COLUMNS
from dm0_ros.robots.spec import RobotSpec, Space

_MOST_ROWS = 1000  # memory and time of the spline are bounded by this
# A value outside a joint's range is obeyed up to the range's end, unless it lies so far out that
# it must be a mistake: degrees for radians, millimetres or a register for metres.
_MARGIN = (2 * np.pi, 1.0)  # rad, m


@dataclass(frozen=True)
class Limits:
    """Limits by column: arm joints, then grippers. All arrays are (D,)."""

    names: tuple[str, ...]
    lower: np.ndarray  # rad or m
    upper: np.ndarray
    velocity: np.ndarray  # rad/s or m/s
    acceleration: np.ndarray  # rad/s2; infinite for grippers, whose makers give none
    jerk: np.ndarray  # rad/s3; likewise
    first_distance: np.ndarray  # rad; infinite for grippers, which may be told to open or close
    margin: np.ndarray  # how far outside its range a value may be and still be obeyed up to it
    joints: int  # columns of the arm; grippers follow

    @property
    def arm(self) -> slice:
        """Columns of the arm."""
        return slice(0, self.joints)

    @classmethod
    def from_robot(cls, robot: RobotSpec) -> "Limits":
        """The limits in a robot's YAML."""
        joints, grippers = robot.joints, robot.grippers
        distance = robot.executor.max_first_distance
        unbounded = [np.inf] * len(grippers)
        return cls(
            names=robot.column_names,
            lower=_row([j.lower for j in joints], [g.closed for g in grippers]),
            upper=_row([j.upper for j in joints], [g.open for g in grippers]),
            velocity=_row([j.velocity for j in joints], [g.velocity for g in grippers]),
            acceleration=_row([j.acceleration for j in joints], unbounded),
            jerk=_row([j.jerk for j in joints], unbounded),
            first_distance=_row([distance] * len(joints), unbounded),
            margin=_row([_MARGIN[0]] * len(joints), [_MARGIN[1]] * len(grippers)),
            joints=len(joints),
        )

    def arrange(self, chunk: Chunk) -> np.ndarray:
        """Rows (H, D) of a chunk in our order of columns.

        Raises `PlanError` that names what is wrong: times, names, shape, values that are not
        finite or lie so far outside a joint's range that they can only be a mistake.
        """
        _check_frame(chunk)
        order = self._order(chunk.names)
        values = np.asarray(chunk.values, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.names) or not len(values):
            raise PlanError(
                f"plan has values of shape {values.shape}; expected (rows, {len(self.names)})"
            )
        if len(values) > _MOST_ROWS:
            raise PlanError(f"plan has {len(values)} rows; at most {_MOST_ROWS} are taken")
        values = values[:, order]
        self._check_values(values)
        return values

    def including(self, positions: np.ndarray) -> "Limits":
        """The same, with a range of the arm that holds ``positions`` (joints,) too.

        An arm that stands beyond its range must be allowed to come back.
        """
        lower, upper = self.lower[self.arm], self.upper[self.arm]
        if ((positions >= lower) & (positions <= upper)).all():
            return self
        wider = replace(self, lower=self.lower.copy(), upper=self.upper.copy())
        wider.lower[self.arm] = np.minimum(lower, positions)
        wider.upper[self.arm] = np.maximum(upper, positions)
        return wider

    def clamp(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows (H, D) within the range, and which columns (D,) were not."""
        clamped = np.clip(values, self.lower, self.upper)
        return clamped, (clamped != values).any(0)

    def check_first(self, first: np.ndarray, measured: np.ndarray) -> None:
        """Refuse a plan whose first row, (D,), is far from where the robot was measured, (D,)."""
        distance = np.abs(first - measured)
        excess = distance / self.first_distance
        worst = int(np.argmax(excess))
        if excess[worst] > 1:
            raise PlanError(
                f"{self.names[worst]}: the plan begins at {first[worst]:.3f}, which is "
                f"{distance[worst]:.3f} rad from the measured {measured[worst]:.3f}; the limit "
                f"(max_first_distance) is {self.first_distance[worst]:.3f} rad"
            )

    def _order(self, names: Sequence[str]) -> list[int]:
        known, given = set(self.names), set(names)
        if len(given) != len(names):
            twice = sorted({name for name in names if list(names).count(name) > 1})
            raise PlanError(f"plan names {', '.join(twice)} twice")
        if driven := [name for name in names if name in BASE_COLUMNS]:
            raise PlanError(
                f"plan drives a base ({', '.join(driven)}), which the executor does not: choose a "
                "layout of joints or poses alone"
            )
        if given - known:
            raise PlanError(
                f"plan has unknown column {', '.join(sorted(given - known))}; "
                f"this robot has {', '.join(self.names)}"
            )
        if known - given:
            missing = [name for name in self.names if name not in given]
            raise PlanError(f"plan lacks {', '.join(missing)}; every joint must be in it")
        column = {name: index for index, name in enumerate(names)}
        return [column[name] for name in self.names]

    def _check_values(self, values: np.ndarray) -> None:
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            row, column = bad[0]
            raise PlanError(
                f"plan is not finite: {self.names[column]} is {values[row, column]} in row {row}"
            )
        far = (values < self.lower - self.margin) | (values > self.upper + self.margin)
        bad = np.argwhere(far)
        if len(bad):
            row, column = bad[0]
            raise PlanError(
                f"{self.names[column]}: row {row} wants {values[row, column]:.4g}, far outside "
                f"its range of {self.lower[column]:.4g} to {self.upper[column]:.4g} rad or m; "
                "check the units of the policy's output"
            )


def _check_frame(chunk: Chunk) -> None:
    if chunk.space is not Space.JOINT_POSITION:
        raise PlanError(
            f"plan is in {chunk.space.value} space; this executor takes joint_position. "
            "Use a layout of joints for the policy"
        )
    if not np.isfinite(chunk.start):
        raise PlanError(f"plan starts at {chunk.start}, which is no time")
    if not (np.isfinite(chunk.step) and chunk.step > 0):
        raise PlanError(f"plan has a step of {chunk.step} s; it must be above zero")


def _row(joints: list[float], grippers: list[float]) -> np.ndarray:
    return np.array(joints + grippers, dtype=np.float64)
