# SPDX-License-Identifier: Apache-2.0
"""Poses of end effectors as columns: how they are named, and angles as quaternions."""

from collections.abc import Sequence

import numpy as np

POSITION = ("x", "y", "z")  # m, in the base of the end effector
QUATERNION = ("qx", "qy", "qz", "qw")
EULER = ("roll", "pitch", "yaw")  # rad about fixed axes, x first
_TERMS = (*POSITION, *QUATERNION, *EULER)


def name_columns(terms: Sequence[str], arm: str, arms: Sequence[str]) -> tuple[str, ...]:
    """Columns of ``terms`` for one of ``arms``, names of end effectors: with the arm's prefix
    where there are several."""
    return tuple(f"{arm}_{term}" for term in terms) if len(arms) > 1 else tuple(terms)


def shorten_name(name: str, arms: Sequence[str]) -> str:
    """A column's name as `name_columns` would give it: the only arm may be named or not."""
    if len(arms) == 1 and (short := name.removeprefix(f"{arms[0]}_")) in _TERMS:
        return short
    return name


def find_prefixes(names: Sequence[str]) -> list[str]:
    """The prefix of each arm whose pose is among the columns: empty, or ``<arm>_``."""
    return [name[:-1] for name in names if name == "x" or name.endswith("_x")]


def find_angles(names: Sequence[str]) -> np.ndarray:
    """Which columns (D,) are angles of poses, with or without an arm's prefix."""
    return np.array([name.rpartition("_")[2] in EULER for name in names], dtype=bool)


def write_quaternions(
    names: Sequence[str], values: np.ndarray
) -> tuple[tuple[str, ...], np.ndarray]:
    """Columns (H, D) with quaternions where they had angles, as plans of poses are sent.

    Angles that are continuous from row to row become quaternions that are.
    """
    names, values = list(names), np.asarray(values)
    for prefix in find_prefixes(names):
        roll, *others = (names.index(prefix + term) for term in EULER)
        turns = quaternions_from_euler(values[:, [roll, *others]])
        # quaternions stand where roll stood
        order = [index for index in range(len(names)) if index not in others]
        at = order.index(roll)
        left, right = order[:at], order[at + 1 :]
        values = np.hstack([values[:, left], turns, values[:, right]])
        written = [prefix + term for term in QUATERNION]
        names = [*(names[i] for i in left), *written, *(names[i] for i in right)]
    return tuple(names), values


def quaternions_from_euler(angles: np.ndarray) -> np.ndarray:
    """Roll, pitch, yaw (H, 3) about fixed axes, rad, to quaternions (H, 4) x y z w."""
    halves = np.asarray(angles, np.float64) / 2
    (sr, sp, sy), (cr, cp, cy) = np.sin(halves).T, np.cos(halves).T
    return np.stack(
        [
            sr * cp * cy - cr * sp * sy,
            cr * sp * cy + sr * cp * sy,
            cr * cp * sy - sr * sp * cy,
            cr * cp * cy + sr * sp * sy,
        ],
        axis=1,
    )
