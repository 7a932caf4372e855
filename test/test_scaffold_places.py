# SPDX-License-Identifier: Apache-2.0
"""Places and pixels are the same points, in pictures of any size, and distances are right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dm0_ros.errors import ScaffoldError
from dm0_ros.scaffold.content import SCALE, Scaffold
from dm0_ros.scaffold.places import (
    box_iou,
    box_to_pixels,
    box_to_places,
    clip_to_picture,
    path_error,
    path_to_places,
    to_pixels,
    to_places,
)

SIZES = st.integers(1, 4000)
SHARES = arrays(np.float64, (5, 2), elements=st.floats(0, 1))
BOXES = st.tuples(*[st.integers(0, 20)] * 4).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)


def test_edges_of_the_picture_are_0_and_1000():
    corners = [[0, 0], [640, 480], [320, 120], [0.32, 0]]
    assert to_places(corners, 640, 480).tolist() == [[0, 0], [1000, 1000], [500, 250], [0, 0]]
    assert to_pixels([[1000, 1000], [500, 250]], 640, 480).tolist() == [[640, 480], [320, 120]]


@given(shares=SHARES, width=SIZES, height=SIZES)
def test_there_and_back_is_off_by_half_a_place_at_most(shares, width, height):
    size = np.array([width, height])
    pixels = np.minimum(shares * size, size)
    back = to_pixels(to_places(pixels, width, height), width, height)
    assert np.all(np.abs(back - pixels) <= size / SCALE / 2 * (1 + 1e-9))


@given(places=arrays(np.int64, (5, 2), elements=st.integers(0, SCALE)), width=SIZES, height=SIZES)
def test_back_and_there_is_exact(places, width, height):
    assert np.array_equal(to_places(to_pixels(places, width, height), width, height), places)


def test_boxes_and_paths_fit_a_scaffold():
    box = box_to_places([22.4, 0, 44.8, 224], 224, 224)
    path = path_to_places(np.array([[0.0, 224.0], [112.0, 56.0]]), 224, 224)
    assert Scaffold("go", box, {"main": path}) == Scaffold(
        "go", (100, 0, 200, 1000), {"main": ((0, 1000), (500, 250))}
    )
    assert all(type(value) is int for value in (*box, *path[0]))
    assert box_to_pixels(box, 224, 224).tolist() == pytest.approx([22.4, 0, 44.8, 224])


@pytest.mark.parametrize("pixel", [[-0.1, 5], [5, 480.5], [np.nan, 5], [5, np.inf]])
def test_pixels_outside_are_refused_by_name(pixel):
    with pytest.raises(ScaffoldError, match=r"pixel \(.*\) is not in the picture of 640 x 480"):
        to_places([[1, 1], pixel], 640, 480)


def test_pixels_outside_are_clipped_on_request_alone():
    clipped = clip_to_picture([[-3, 500], [700, 7]], 640, 480)
    assert clipped.tolist() == [[0, 480], [640, 7]]
    assert np.isnan(clip_to_picture([np.nan, 3], 640, 480)[0])


@pytest.mark.parametrize(
    ("first", "second", "share"),
    [
        ([0, 0, 2, 2], [0, 0, 2, 2], 1.0),
        ([0, 0, 2, 2], [1, 0, 3, 2], 1 / 3),
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7),
        ([0, 0, 4, 4], [1, 1, 3, 3], 1 / 4),
        ([0, 0, 2, 2], [2, 0, 4, 2], 0.0),
        ([0, 0, 1, 1], [3, 3, 4, 4], 0.0),
        ([3, 3, 3, 3], [3, 3, 3, 3], 1.0),
        ([3, 3, 3, 5], [3, 3, 3, 4], 0.0),
    ],
)
def test_boxes_are_compared_by_their_areas(first, second, share):
    assert box_iou(first, second) == pytest.approx(share)


@given(first=BOXES, second=BOXES)
def test_iou_is_that_of_counted_cells(first, second):
    cells = np.zeros((2, 20, 20), bool)
    for grid, (x_min, y_min, x_max, y_max) in zip(cells, (first, second), strict=True):
        grid[y_min:y_max, x_min:x_max] = True
    either = np.count_nonzero(cells.any(0))
    if either:
        assert box_iou(first, second) == pytest.approx(np.count_nonzero(cells.all(0)) / either)


def test_path_error_is_the_mean_distance():
    truth = np.array([[0.0, 0.0], [10.0, 0.0], [20.0, 0.0]])
    assert path_error(truth, truth) == 0
    assert path_error(truth + np.array([3, 4]), truth) == pytest.approx(5)
    assert path_error(truth + np.array([[0, 0], [0, 6], [0, 0]]), truth) == pytest.approx(2)


def test_paths_of_other_counts_cover_the_same_time():
    truth = np.array([[0.0, 0.0], [10.0, 5.0], [20.0, 10.0]])
    assert path_error(truth[[0, 2]], truth) == pytest.approx(0, abs=1e-12)
    assert path_error(truth[[0]], truth) == pytest.approx(np.hypot(15, 7.5) * 2 / 3)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: path_error(np.empty((0, 2)), [[1, 1]]),
        lambda: path_error([[1, 1, 1]], [[1, 1]]),
        lambda: to_pixels([1, 2, 3], 10, 10),
        lambda: to_places([1, 2], 0, 10),
        lambda: box_iou([2, 0, 1, 1], [0, 0, 1, 1]),
        lambda: box_iou([np.nan] * 4, [0, 0, 1, 1]),
        lambda: box_to_places([0, 0, 1], 10, 10),
    ],
)
def test_what_is_neither_box_nor_path_is_refused(wrong):
    with pytest.raises(ScaffoldError):
        wrong()
