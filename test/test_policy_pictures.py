# SPDX-License-Identifier: Apache-2.0
"""Pictures: padding, resizing, scaling, slots and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dm0_ros.errors import ObservationError
from dm0_ros.policy.pictures import (
    PadColour,
    PixelScale,
    check_pictures,
    prepare_picture,
)


def random_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_wide_picture_is_padded_above_and_below():
    white = np.full((10, 20, 3), 255, np.uint8)
    grey = prepare_picture(white, 20)
    black = prepare_picture(white, 20, pad=PadColour.BLACK)
    np.testing.assert_allclose(grey[:, :5], 127 / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(black[:, :5], -1.0)
    np.testing.assert_array_equal(black[:, 5:15], 1.0)
    np.testing.assert_array_equal(black[:, 15:], -1.0)


def test_tall_picture_is_padded_left_and_right():
    white = np.full((20, 11, 3), 255, np.uint8)
    columns = prepare_picture(white, 20, pad=PadColour.BLACK)[0, 0]
    assert columns.tolist() == [-1.0] * 4 + [1.0] * 11 + [-1.0] * 5


def test_shrinks_as_the_reference_does():
    picture = random_picture(448, 448)
    resized = np.asarray(Image.fromarray(picture).resize((112, 112), resample=3))
    expected = (resized.astype(np.float64) / 255 - 0.5) / 0.5
    np.testing.assert_allclose(
        prepare_picture(picture, 112).transpose(1, 2, 0), expected, atol=1e-6
    )


def test_antialiasing_averages_a_fine_pattern():
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(prepare_picture(stripes, 16)[:, :, 2:-2]).max() < 0.05


def test_clip_statistics():
    black = np.zeros((8, 8, 3), np.uint8)
    prepared = prepare_picture(black, 8, scale=PixelScale.CLIP)
    np.testing.assert_allclose(prepared[:, 0, 0], [-1.7923, -1.7521, -1.4802], atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 60), width=st.integers(1, 60), seed=st.integers(0, 99))
def test_any_picture_fits(height, width, seed):
    prepared = prepare_picture(random_picture(height, width, seed), 28)
    assert prepared.shape == (3, 28, 28)
    assert prepared.dtype == np.float32
    assert np.abs(prepared).max() <= 1.0


def test_missing_slot_is_named():
    with pytest.raises(ObservationError, match="no picture for camera slot 'left'; got high"):
        check_pictures({"high": random_picture(8, 8)}, ("high", "left"))


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (
            np.full((8, 8, 3), np.nan, np.float32),
            "picture 'high': holds NaN or infinite pixels",
        ),
        (np.zeros((8, 8, 3), np.float32), "picture 'high': pixels are float32"),
        (np.zeros((8, 8, 3), np.uint16), "picture 'high': pixels are uint16"),
        (np.zeros((8, 8), np.uint8), r"picture 'high': has shape \(8, 8\)"),
        (np.zeros((8, 8, 4), np.uint8), r"picture 'high': has shape \(8, 8, 4\)"),
        (np.zeros((0, 8, 3), np.uint8), r"picture 'high': has shape \(0, 8, 3\)"),
        (None, "picture 'high': expected an array, found NoneType"),
    ],
)
def test_malformed_picture_is_named(picture, message):
    with pytest.raises(ObservationError, match=message):
        check_pictures({"high": picture}, ("high",))
