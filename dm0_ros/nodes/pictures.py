# SPDX-License-Identifier: Apache-2.0
"""Pictures in messages and pictures in arrays: sensor_msgs Image, CompressedImage <-> NumPy.

cv_bridge converts where it imports and works with this NumPy; elsewhere our own conversion does.
Arrays are (height, width, 3) uint8 RGB everywhere inside.
"""

import array
import functools
from collections.abc import Callable

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from dm0_ros.policy.decoding import check_image, decode_compressed, decode_image


def find_camera_topic(slot: str, compressed: bool) -> tuple[type, str, Callable]:
    """Kind and name of a camera's topic, and ``decode(message)``, which gives the picture.

    For what it raises see `picture_from_image` and `picture_from_compressed`.
    """
    kind, ending = (CompressedImage, "compressed") if compressed else (Image, "image_raw")
    decode = picture_from_compressed if compressed else picture_from_image
    topic = f"camera/{slot}/{ending}"
    return kind, topic, functools.partial(decode, topic=topic)


def picture_from_image(message: Image, topic: str) -> np.ndarray:
    """The picture (height, width, 3) uint8 RGB of an Image, its row step honoured.

    Raises `ObservationError` that names the topic where it cannot be decoded, see `check_image`.
    """
    bridge = _find_bridge()
    if bridge is None:
        return decode_image(message, topic)
    check_image(message, topic)
    return np.asarray(bridge.imgmsg_to_cv2(message, desired_encoding="rgb8"))


@functools.cache
def _find_bridge():
    """A CvBridge that has just converted a picture without a fault, or None.

    Releases of cv_bridge built for NumPy 1 import beside NumPy 2 and fail at the first picture.
    """
    try:
        from cv_bridge import CvBridge

        bridge = CvBridge()
        probe = image_from_picture(np.array([[[1, 2, 3]]], np.uint8))
        good = bridge.imgmsg_to_cv2(probe, desired_encoding="bgr8").tolist() == [[[3, 2, 1]]]
    except Exception:  # whatever a broken binary raises, our own conversion is as good
        return None
    return bridge if good else None


def picture_from_compressed(message: CompressedImage, topic: str) -> np.ndarray:
    """The picture (height, width, 3) uint8 RGB of a JPEG or PNG message.

    Raises `ObservationError` that names the topic where the data cannot be decoded.
    """
    return decode_compressed(message, topic)


def image_from_picture(picture: np.ndarray) -> Image:
    """An rgb8 Image of a picture (height, width, 3) uint8 RGB; the caller fills the header."""
    height, width, _ = picture.shape
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    # rosidl takes an array.array as it is; any other type costs a hundred times more.
    message.data = array.array("B", picture.tobytes())
    return message


def compressed_from_picture(picture: np.ndarray, quality: int = 90) -> CompressedImage:
    """A JPEG of a picture (height, width, 3) uint8 RGB; the caller fills the header."""
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    message = CompressedImage(format="rgb8; jpeg compressed bgr8")
    message.data = array.array("B", data.tobytes())
    return message
