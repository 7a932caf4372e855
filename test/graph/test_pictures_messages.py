# SPDX-License-Identifier: Apache-2.0
"""Pictures in messages and back, for every encoding, and the sentences for bad ones."""

import array

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sensor_msgs.msg import CompressedImage, Image

from dm0_ros.errors import ObservationError
from dm0_ros.nodes.pictures import (
    compressed_from_picture,
    image_from_picture,
    picture_from_compressed,
    picture_from_image,
)

PICTURES = arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))
TOPIC = "camera/high/image_raw"
FROM_RGB = {
    "rgb8": lambda p: p,
    "bgr8": lambda p: cv2.cvtColor(p, cv2.COLOR_RGB2BGR),
    "rgba8": lambda p: cv2.cvtColor(p, cv2.COLOR_RGB2RGBA),
    "bgra8": lambda p: cv2.cvtColor(p, cv2.COLOR_RGB2BGRA),
}


def make_image(pixels, encoding, padding=0):
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    rows = np.pad(rows, [(0, 0), (0, padding)], constant_values=99)
    message = Image(height=height, width=width, encoding=encoding, step=rows.shape[1])
    message.data = array.array("B", rows.tobytes())
    return message


@given(PICTURES, st.sampled_from(sorted(FROM_RGB)), st.integers(0, 5))
def test_every_colour_encoding_with_any_row_step(picture, encoding, padding):
    message = make_image(FROM_RGB[encoding](picture), encoding, padding)
    np.testing.assert_array_equal(picture_from_image(message, TOPIC), picture)


@given(PICTURES, st.integers(0, 5))
def test_mono_becomes_three_equal_channels(picture, padding):
    grey = picture[..., :1]
    seen = picture_from_image(make_image(grey, "mono8", padding), TOPIC)
    np.testing.assert_array_equal(seen, np.repeat(grey, 3, axis=2))


@given(PICTURES)
def test_what_we_publish_we_can_read(picture):
    np.testing.assert_array_equal(picture_from_image(image_from_picture(picture), TOPIC), picture)


def test_jpeg_there_and_back_keeps_colours():
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[..., 0] = 200
    message = compressed_from_picture(picture)
    assert message.format.endswith("jpeg compressed bgr8")
    seen = picture_from_compressed(message, TOPIC)
    assert seen.shape == picture.shape
    assert np.abs(seen.astype(int) - picture).max() < 12


@pytest.mark.parametrize("encoding", ["32FC1", "bayer_rggb8", "yuv422_yuy2", "16UC1", ""])
def test_other_encodings_are_named_with_the_topic(encoding):
    message = make_image(np.zeros((2, 2, 3), np.uint8), encoding)
    with pytest.raises(ObservationError, match=rf"{TOPIC}.*'{encoding}'.*rgb8"):
        picture_from_image(message, TOPIC)


@pytest.mark.parametrize("changes", [{"height": 3}, {"width": 3}, {"step": 5}, {"height": 0}])
def test_data_that_cannot_fill_the_picture_is_refused(changes):
    message = make_image(np.zeros((2, 2, 3), np.uint8), "rgb8")
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(ObservationError, match=TOPIC):
        picture_from_image(message, TOPIC)


@pytest.mark.parametrize("data", [b"", b"no picture at all"])
def test_broken_jpeg_is_refused(data):
    message = CompressedImage(format="jpeg", data=array.array("B", data))
    with pytest.raises(ObservationError, match=rf"{TOPIC}.*'jpeg'"):
        picture_from_compressed(message, TOPIC)
