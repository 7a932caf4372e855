# SPDX-License-Identifier: Apache-2.0
"""Pixels lifted to the table: projected back they are the same, and blocks lie where they do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm0_ros.robots.cameras import Projection
from dm0_ros.robots.loading import load_robot
from dm0_ros.scaffold.lifting import corners_of, lift_sketch, lift_to_height
from dm0_ros.scaffold.sketch import Sketch
from dm0_ros.sim.simulator import Simulator

ROBOTS = ("franka", "ur5", "arx5", "aloha", "aloha_viperx")
VIEWS = [
    pytest.param(Projection.of(camera), id=f"{name}-{slot}")
    for name in ROBOTS
    for slot, camera in load_robot(name).simulation.cameras.items()
    if camera.link is None
]
LEVEL = Projection(
    64, 48, 50.0, np.array([0.0, 0.0, 1.0]), np.eye(3)[[1, 2, 0]] * [[-1], [-1], [1]]
)
share = st.floats(0.0, 1.0)


@pytest.mark.parametrize("projection", VIEWS)
@given(x=share, y=st.floats(0.3, 1.0), height=st.floats(-0.1, 0.1))
def test_projected_back_it_is_the_pixel(projection, x, y, height):
    pixel = np.array([[x * projection.width, y * projection.height]])
    point = lift_to_height(projection, pixel, height)
    assert point[0, 2] == height
    np.testing.assert_allclose(projection.project(point), pixel, atol=1e-6)


def test_rays_above_the_horizon_meet_nothing():
    assert np.isnan(lift_to_height(LEVEL, [[32.0, 24.0], [32.0, 0.0]], 0.0)).all()
    below = lift_to_height(LEVEL, [[32.0, 48.0]], 0.0)
    np.testing.assert_allclose(below, [[1.0 * 50 / 24, 0.0, 0.0]], atol=1e-12)
    assert np.isnan(lift_to_height(LEVEL, [[32.0, 48.0]], 2.0)).all(), "behind the camera"


def test_a_block_seen_by_the_camera_is_lifted_to_where_it_lies():
    spec = load_robot("franka")
    simulator = Simulator(spec, seed=3)
    try:
        picture = simulator.render("right_hand").astype(int)
        centre = simulator.object_pose("red")[:3]
        others = picture[..., 1:].max(axis=2)
        ys, xs = np.nonzero(picture[..., 0] - others > 60)
        box = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], float)
        height, width, _ = picture.shape
        sketch = Sketch("right_hand", width, height, "", box, (corners_of(box),))
        projection = Projection.of(spec.simulation.cameras["right_hand"])
        lifted = lift_sketch(sketch, projection, simulator.world.table.top)
    finally:
        simulator.close()
    assert len(lifted.box) == 4 and len(lifted.paths[0]) == 4
    low, high = lifted.box.min(axis=0), lifted.box.max(axis=0)
    assert (low[:2] < centre[:2]).all() and (centre[:2] < high[:2]).all()
    # no larger than a block, its shadow behind it and what perspective adds
    assert (high - low)[:2].max() < 0.2


def test_what_meets_no_table_is_left_out():
    path = np.array([[32.0, 48.0], [32.0, 40.0], [32.0, 10.0]])
    box = np.array([10.0, 10.0, 50.0, 47.0])
    lifted = lift_sketch(Sketch("a", 64, 48, "", box, (path,)), LEVEL, 0.0)
    assert lifted.box is None and len(lifted.paths[0]) == 2


def test_pictures_of_another_size_are_scaled():
    box = np.array([20.0, 60.0, 40.0, 90.0])
    large = lift_sketch(Sketch("a", 128, 96, "", box, ()), LEVEL, 0.0)
    small = lift_sketch(Sketch("a", 64, 48, "", box / 2, ()), LEVEL, 0.0)
    np.testing.assert_allclose(large.box, small.box)
