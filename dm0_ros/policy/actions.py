# SPDX-License-Identifier: Apache-2.0
"""Rows of set-points to the network's columns, and back.

The network sees differences to the state at the observation (the same state for every row), and
some columns, such as grippers, as they are; both normalised and padded to its width. It sees them
in the units of the data that it was trained with, which are SI and radians but for some grippers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dm0_ros.policy.normalisation import Normalisation, NormStats
from dm0_ros.robots.layouts import BASE_COLUMNS
from dm0_ros.robots.poses import find_angles
from dm0_ros.robots.spec import Layout, Space


@dataclass(frozen=True)
class GripperRule:
    """What a predicted gripper value becomes, in the unit of the checkpoint's data."""

    threshold: float
    below: float  # given for values less than the threshold
    above: float | None = None  # given for the others; None leaves them as they are


def to_differences(rows: np.ndarray, state: np.ndarray, layout: Layout) -> np.ndarray:
    """Rows (..., H, C) minus state (..., S), except absolute columns.

    Rows and state are SI and radians, differences in the units of the checkpoint's data.
    Differences of pose angles are wrapped to [-pi, pi): the arm goes the short way round.
    """
    _check_columns(rows, state, layout)
    differences = layout.to_data(rows) - _reference(state, layout)
    angles = _pose_angles(layout)
    differences[..., angles] = (differences[..., angles] + math.pi) % math.tau - math.pi
    return differences


def from_differences(
    differences: np.ndarray, state: np.ndarray, layout: Layout, rule: GripperRule | None = None
) -> np.ndarray:
    """The inverse of `to_differences`, with the rule applied before the data's units are left.

    Pose angles may leave [-pi, pi) and mean the same; from row to row they never leap by a turn,
    so that whoever looks between rows finds what is between them.
    """
    _check_columns(differences, state, layout)
    rows = np.asarray(differences, np.float64) + _reference(state, layout)
    angles = _pose_angles(layout)
    rows[..., angles] = np.unwrap(rows[..., angles], axis=-2)
    if rule is not None:
        rows = settle_grippers(rows, layout, rule)
    return layout.from_data(rows)


def encode_actions(
    rows: np.ndarray,
    state: np.ndarray,
    layout: Layout,
    stats: NormStats,
    mode: Normalisation,
) -> np.ndarray:
    """Rows (..., H, C) and state (..., S), as named in the layout, to (..., H, D) float32.

    D is the length of the statistics, which is the network's ``action_dim``. Padding is put in
    before normalising, so with quantiles it becomes -1, which the network was trained to give.
    """
    differences = to_differences(rows, state, layout)
    padding = len(stats.action.low) - len(layout.columns)
    padded = np.pad(differences, [(0, 0)] * (differences.ndim - 1) + [(0, padding)])
    return stats.action.normalise(padded, mode).astype(np.float32)


def decode_actions(
    columns: np.ndarray,
    state: np.ndarray,
    layout: Layout,
    stats: NormStats,
    mode: Normalisation,
    rule: GripperRule | None = None,
) -> np.ndarray:
    """The network's columns (..., H, D) to rows (..., H, C) float64, absolute, SI and radians.

    ``rule`` sees grippers as the checkpoint's data have them.
    """
    differences = stats.action.denormalise(columns, mode)[..., : len(layout.columns)]
    return from_differences(differences, state, layout, rule)


def settle_grippers(rows: np.ndarray, layout: Layout, rule: GripperRule) -> np.ndarray:
    """Rows (..., H, C) with the rule applied to the layout's absolute columns, its grippers.

    Rows are in the units of the checkpoint's data, as the rule is. A base's velocities are left.
    A policy is unsure of a few millimetres; a gripper that is meant to hold must close for good.
    """
    grippers = np.isin(layout.columns, layout.absolute) & ~np.isin(layout.columns, BASE_COLUMNS)
    above = rows if rule.above is None else rule.above
    settled = np.where(rows < rule.threshold, rule.below, above)
    return np.where(grippers, settled, rows)


def clip_columns(rows: np.ndarray, limits: Sequence[tuple[float, float]]) -> np.ndarray:
    """Rows (..., H, C) within ``limits``: (lower, upper) of each column."""
    lower, upper = np.transpose(limits)
    return np.clip(rows, lower, upper)


def _reference(state: np.ndarray, layout: Layout) -> np.ndarray:
    """What to add to differences (..., 1, C): zero where columns are absolute."""
    absolute = np.isin(layout.columns, layout.absolute)
    return np.where(absolute, 0.0, layout.to_data(layout.align(state)))[..., None, :]


def _pose_angles(layout: Layout) -> np.ndarray:
    """Angles of a pose have no limits; joints do, and never wrap."""
    if layout.space is not Space.EEF_POSE:
        return np.zeros(len(layout.columns), dtype=bool)
    return find_angles(layout.columns)


def _check_columns(rows: np.ndarray, state: np.ndarray, layout: Layout) -> None:
    expected = len(layout.columns), len(layout.state_columns)
    if (np.shape(rows)[-1], np.shape(state)[-1]) != expected:
        raise ValueError(
            f"the layout has {expected[0]} columns ({', '.join(layout.columns)}), "
            f"{expected[1]} of the state; found rows {np.shape(rows)} and state {np.shape(state)}"
        )
