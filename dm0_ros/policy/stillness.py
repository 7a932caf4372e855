# SPDX-License-Identifier: Apache-2.0
"""How much motion a plan asks for: what tells that a policy has nothing left to do."""

from collections.abc import Collection, Sequence

import numpy as np

from dm0_ros.robots.poses import EULER, POSITION, find_prefixes, quaternions_from_euler

RADIAN = 0.3
"""m of an end effector's way that count like a turn by one rad."""


class Stillness:
    """Compares rows with the state that they start from; grippers do not count."""

    def __init__(
        self, action_names: Sequence[str], state_names: Sequence[str], joints: Collection[str]
    ) -> None:
        """``joints`` are those of the arms; columns of poses are known by their names."""
        self._joints = _find([n for n in action_names if n in joints], action_names, state_names)
        self._arms = [
            (_find(_add(prefix, POSITION), action_names, state_names),
             _find(_add(prefix, EULER), action_names, state_names))
            for prefix in find_prefixes(action_names)
        ]  # fmt: skip

    def measure(self, rows: np.ndarray, state: np.ndarray) -> float:
        """The furthest that rows (H, D) are from the state (S,), rad.

        Of every joint, and of every end effector's orientation and position: see `RADIAN`.
        """
        wanted, there = self._joints
        distances = [np.abs(rows[:, wanted] - state[there])]
        for (wanted, there), (turned, turn) in self._arms:
            ways = np.linalg.norm(rows[:, wanted] - state[there], axis=1)
            distances += [ways / RADIAN, _angles(rows[:, turned], state[turn])]
        return max(float(values.max(initial=0.0)) for values in distances)


def _find(
    names: Sequence[str], action_names: Sequence[str], state_names: Sequence[str]
) -> tuple[list[int], list[int]]:
    """Where columns are in a row, and in the state."""
    return [action_names.index(n) for n in names], [state_names.index(n) for n in names]


def _add(prefix: str, terms: Sequence[str]) -> list[str]:
    return [prefix + term for term in terms]


def _angles(rows: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Angles (H,) between the rotations of rows (H, 3) and of ``turn`` (3,), whatever wraps."""
    shares = np.abs(quaternions_from_euler(rows) @ quaternions_from_euler(turn[None])[0])
    return 2.0 * np.arccos(np.minimum(shares, 1.0))
