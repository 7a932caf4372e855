# SPDX-License-Identifier: Apache-2.0
"""Plans that are refused, and why."""

from dataclasses import replace

import numpy as np
import pytest

from dm0_ros.control import Chunk, Limits
from dm0_ros.errors import PlanError
from dm0_ros.robots import load_robot
from dm0_ros.robots.spec import Space

ROBOT = load_robot("franka")
LIMITS = Limits.from_robot(ROBOT)
HOME = np.array([ROBOT.home[name] for name in ROBOT.column_names])
CHUNK = Chunk(
    0.0, 0.1, Space.JOINT_POSITION, ROBOT.column_names, np.tile(HOME, (5, 1)), sequence=1, epoch=0
)


def refuse(match, **changes):
    with pytest.raises(PlanError, match=match):
        LIMITS.arrange(replace(CHUNK, **changes))


def changed(row, column, value):
    values = CHUNK.values.copy()
    values[row, column] = value
    return values


def test_columns_are_found_by_name():
    order = np.random.default_rng(0).permutation(8)
    chunk = replace(
        CHUNK,
        names=tuple(ROBOT.column_names[index] for index in order),
        values=CHUNK.values[:, order],
    )
    np.testing.assert_array_equal(LIMITS.arrange(chunk), CHUNK.values)


def test_what_is_wrong_with_a_plan_is_named():
    names = ROBOT.column_names
    refuse("fr3_joint3 is nan in row 2", values=changed(2, 2, np.nan))
    refuse("fr3_joint7 is inf in row 0", values=changed(0, 6, np.inf))
    refuse(r"fr3_joint1: row 4 wants 1e\+09, far outside", values=changed(4, 0, 1e9))
    wider = np.pad(CHUNK.values, [(0, 0), (0, 1)])
    refuse(
        r"drives a base \(vx\), which the executor does not", names=(*names, "vx"), values=wider
    )
    refuse("unknown column elbow", names=("elbow", *names[1:]))
    refuse("lacks fr3_joint1", names=names[1:], values=CHUNK.values[:, 1:])
    refuse("names fr3_joint2 twice", names=(names[1], *names[1:]))
    refuse("shape", values=CHUNK.values[:, :3])
    refuse("shape", values=CHUNK.values[:0])
    refuse("at most 1000", values=np.zeros((1001, 8)))
    refuse("step of 0", step=0.0)
    refuse("step of -0.1", step=-0.1)
    refuse("step of nan", step=np.nan)
    refuse("starts at nan", start=np.nan)
    refuse("eef_pose space", space=Space.EEF_POSE)


def test_first_row_far_from_the_robot_names_joint_distance_and_limit():
    first = HOME.copy()
    first[3] += 0.4
    with pytest.raises(PlanError, match=r"fr3_joint4.*0\.400 rad.*0\.350 rad"):
        LIMITS.check_first(first, HOME)
    first[3] = HOME[3] + 0.3
    first[7] = 0.08  # a gripper may open from anywhere
    LIMITS.check_first(first, HOME)


def test_rows_are_clamped_to_the_range_and_their_columns_told():
    values = changed(2, 3, 0.5)
    clamped, beyond = LIMITS.clamp(values)
    assert clamped[2, 3] == LIMITS.upper[3]
    np.testing.assert_array_equal(np.flatnonzero(beyond), [3])
    np.testing.assert_array_equal(clamped[:2], values[:2])
