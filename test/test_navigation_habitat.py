# SPDX-License-Identifier: Apache-2.0
"""Habitat's axes and episodes in ours. The simulator itself is not on the machines that test."""

import gzip
import importlib.util
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from dm0_ros.navigation.habitat import (
    HabitatError,
    HabitatScene,
    from_habitat,
    read_dataset,
    read_episode,
    rotation_of,
    to_habitat,
    yaw_of,
)
from dm0_ros.sim.house_simulator import open_place

ANGLES = some.floats(-3.0, 3.0)
TILTS = some.floats(-1.5, 1.5)
RECORD = {
    "object_category": "chair",
    "scene_id": "hm3d/val/00800-TEEsavR23oF/TEEsavR23oF.basis.glb",
    "start_position": [1.0, 0.2, -3.0],
    "start_rotation": [0.0, math.sin(0.25), 0.0, math.cos(0.25)],
}
GOALS = {
    "TEEsavR23oF.basis.glb_chair": [
        {
            "view_points": [
                {"agent_state": {"position": [2.0, 0.2, -4.0], "rotation": [0, 0, 0, 1]}}
            ]
        },
        {
            "view_points": [
                {"agent_state": {"position": [0.0, 0.2, 5.0], "rotation": [0, 0, 0, 1]}}
            ]
        },
    ]
}


def rotate(quaternion, vector):
    """A vector (3,) turned by a quaternion w x y z."""
    w, axis = quaternion[0], np.array(quaternion[1:])
    return vector + 2 * np.cross(axis, np.cross(axis, vector) + w * vector)


@given(some.tuples(*[some.floats(-20, 20)] * 3))
def test_axes_there_and_back(point):
    assert from_habitat(to_habitat(point)) == pytest.approx(point, abs=1e-5)


def test_ahead_left_and_up():
    # Habitat: agents look along -z, x is to their right, y points up
    assert from_habitat([0, 0, -1]).tolist() == [1, 0, 0]
    assert from_habitat([-1, 0, 0]).tolist() == [0, 1, 0]
    assert from_habitat([0, 1, 0]).tolist() == [0, 0, 1]


@given(ANGLES, TILTS)
def test_an_eye_looks_where_ours_would(yaw, tilt):
    looks = from_habitat(rotate(rotation_of(yaw, tilt), np.array([0.0, 0.0, -1.0])))
    flat = math.cos(tilt)
    wanted = (flat * math.cos(yaw), flat * math.sin(yaw), math.sin(tilt))
    assert looks == pytest.approx(wanted, abs=1e-6)
    up = from_habitat(rotate(rotation_of(yaw, tilt), np.array([0.0, 1.0, 0.0])))
    assert up[2] == pytest.approx(flat, abs=1e-6)


@given(ANGLES)
def test_the_yaw_of_a_rotation(yaw):
    w, x, y, z = rotation_of(yaw, 0.0)
    assert yaw_of([x, y, z, w]) == pytest.approx(yaw)


def test_an_episode_of_the_data_set(tmp_path):
    path = tmp_path / "scene.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"episodes": [RECORD]}).encode()))
    (record,) = read_dataset(path)["episodes"]
    episode, height, points = read_episode(record, GOALS)
    assert episode.category == "chair" and height == pytest.approx(0.2)
    assert episode.start == pytest.approx((3.0, -1.0, 0.5))
    assert points == pytest.approx(np.array([[4.0, -2.0, 0.2], [-5.0, 0.0, 0.2]]))


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(HabitatError, match=r"no view points for TEEsavR23oF.basis.glb_chair"):
        read_episode(RECORD, {})
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    for path in (broken, tmp_path / "absent.json.gz"):
        with pytest.raises(HabitatError, match="is no data set"):
            read_dataset(path)


@pytest.mark.skipif(
    importlib.util.find_spec("habitat_sim") is not None, reason="habitat-sim is installed"
)
def test_without_habitat_it_says_so():
    with pytest.raises(HabitatError, match="habitat-sim is not installed"):
        HabitatScene("/data/scene.glb")
    with pytest.raises(HabitatError, match="habitat-sim is not installed"):
        open_place("habitat:/data/scene.glb", 0.18)
