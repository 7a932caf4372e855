# SPDX-License-Identifier: Apache-2.0
"""Projection against MuJoCo's own pictures, and what is drawn."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dm0_ros.robots.cameras import Projection
from dm0_ros.robots.kinematics import Chain, load_urdf
from dm0_ros.robots.loading import load_robot
from dm0_ros.scaffold.drawing import (
    BOX_COLOUR,
    PATH_COLOUR,
    draw_box,
    draw_caption,
    draw_path,
    draw_waypoints,
    enlarge,
    horizon_colours,
)
from dm0_ros.sim.simulator import Simulator

SPEC = load_robot("franka")
# From the middle of a block almost to its top face.
TOP = np.array([0.0, 0.0, 0.024])
# Of a box round a block, however it is turned.
CORNERS = 0.025 * np.array(list(itertools.product((-1.42, 1.42), (-1.42, 1.42), (-1, 1))))
CAMERAS = SPEC.simulation.cameras
FIXED = [slot for slot, camera in CAMERAS.items() if camera.link is None]


@pytest.fixture(scope="module")
def simulator():
    simulator = Simulator(SPEC, seed=1)
    yield simulator
    simulator.close()


def dominant(pixel):
    return int(np.argmax(pixel)) if np.ptp(pixel.astype(int)) > 40 else None


@pytest.mark.parametrize("slot", FIXED)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000))
def test_objects_are_where_they_are_projected(simulator, slot, seed):
    simulator.reset(seed)
    picture = simulator.render(slot)
    projection = Projection.of(CAMERAS[slot])
    for channel, name in enumerate(("red", "green", "blue")):
        centre = simulator.object_pose(name)[:3]
        pixels = projection.project(centre + CORNERS)
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        rest = np.delete(picture, channel, axis=2).max(axis=2).astype(int)
        y, x = np.nonzero(picture[..., channel] - rest > 60)
        inside = (x >= low[0] - 1) & (x <= high[0]) & (y >= low[1] - 1) & (y <= high[1])
        assert inside.sum() > 20 and inside.mean() > 0.99, name


def test_camera_on_the_hand_follows_it(simulator):
    camera = CAMERAS["left_hand"]
    assert camera.link
    simulator.reset(3)
    pose = Chain(load_urdf(SPEC), SPEC.end_effectors[0].base, camera.link).pose(SPEC.home)
    projection = Projection.of(camera, pose)
    picture = simulator.render("left_hand")
    seen = []
    for channel, name in enumerate(("red", "green", "blue")):
        top = simulator.object_pose(name)[:3] + TOP
        x, y = projection.project(top[None])[0]
        if 0 <= x < camera.width and 0 <= y < camera.height:
            seen.append(dominant(picture[int(y), int(x)]) == channel)
    assert seen and all(seen)


def test_target_is_in_the_middle_and_what_is_behind_is_not_seen():
    camera = CAMERAS["right_hand"]
    projection = Projection.of(camera)
    middle, behind = projection.project(
        np.array([camera.target, 2 * np.array(camera.position) - camera.target])
    )
    np.testing.assert_allclose(middle, [camera.width / 2, camera.height / 2], atol=1e-9)
    assert np.isnan(behind).all()


def test_path_is_drawn_where_it_goes_and_changes_colour():
    picture = np.zeros((60, 100, 3), np.uint8)
    draw_path(picture, np.column_stack([np.linspace(10, 80, 8), np.full(8, 30.0)]))
    assert picture[30, 15].any() and picture[30, 78].any()
    assert not picture[:20].any() and not picture[41:].any()
    colours = horizon_colours(8)
    assert np.abs(picture[29, 12].astype(float) - colours[1]).max() < 90
    assert picture[29, 12, 1] > picture[29, 68, 1]


def test_pieces_that_cannot_be_seen_are_left_out():
    picture = np.zeros((40, 40, 3), np.uint8)
    draw_path(picture, np.array([[5.0, 5.0], [np.nan, np.nan], [35.0, 5.0], [1e9, 5.0]]))
    assert not picture[5, 15:25].any()
    draw_path(picture, np.empty((0, 2)))
    assert not picture.any()


@given(st.text(max_size=200))
@settings(deadline=None)
def test_any_caption_fits(text):
    picture = np.full((60, 80, 3), 200, np.uint8)
    captioned = draw_caption(picture, [text, "two"])
    assert captioned.shape == picture.shape
    assert captioned[:10].mean() < 150 and (captioned[59] == 200).all()


def test_small_pictures_are_doubled_and_large_ones_copied():
    small = np.zeros((112, 112, 3), np.uint8)
    assert enlarge(small, 400)[0].shape == (448, 448, 3) and enlarge(small, 400)[1] == 4
    large = np.zeros((480, 640, 3), np.uint8)
    same, factor = enlarge(large, 400)
    assert factor == 1 and same.shape == large.shape and same is not large


def near(picture, colour):
    return np.abs(picture.astype(int) - colour).max(axis=2) < 40


def test_box_is_drawn_on_its_edges_and_nowhere_else():
    picture = np.full((100, 120, 3), 128, np.uint8)
    draw_box(picture, np.array([30.0, 20.0, 90.0, 70.0]), thickness=2)
    for x, y in ((30, 45), (90, 45), (60, 20), (60, 70)):
        assert near(picture[y - 2 : y + 3, x - 2 : x + 3], BOX_COLOUR).any()
    assert (picture[30:60, 40:80] == 128).all() and (picture[80:] == 128).all()


def test_box_that_leaves_the_picture_is_cut_and_one_that_is_nowhere_is_left_out():
    picture = np.full((60, 60, 3), 128, np.uint8)
    draw_box(picture, np.array([np.nan, 1.0, 2.0, 3.0]))
    draw_box(picture, np.array([1.0, 1.0, 1e9, 3.0]))
    assert (picture == 128).all()
    draw_box(picture, np.array([-50.0, 30.0, 200.0, 300.0]))
    assert near(picture[28:33], BOX_COLOUR).any() and (picture[40:] == 128).all()


def test_told_path_is_dashed_dotted_and_unlike_the_plan():
    picture = np.full((60, 200, 3), 128, np.uint8)
    draw_waypoints(picture, np.array([[10.0, 30.0], [190.0, 30.0]]), thickness=2)
    line = near(picture, PATH_COLOUR)[30]
    assert line[8:12].all() and line[188:192].all(), "a dot at each end"
    changes = np.count_nonzero(np.diff(line[10:190].astype(int)))
    assert changes > 8, "dashes"
    plan = np.full((60, 200, 3), 128, np.uint8)
    draw_path(plan, np.array([[10.0, 30.0], [190.0, 30.0]]))
    assert not near(plan, PATH_COLOUR).any() and not near(plan, BOX_COLOUR).any()


def test_single_point_of_a_path_is_a_dot():
    picture = np.full((60, 60, 3), 128, np.uint8)
    draw_waypoints(picture, np.array([[20.0, 30.0]]))
    ys, xs = np.nonzero(near(picture, PATH_COLOUR))
    assert len(xs) and np.abs([xs.mean() - 19.5, ys.mean() - 29.5]).max() < 1
