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

from dm0_ros.errors import ObservationError

# Channels of the encodings that cameras send, and the OpenCV conversion to RGB.
_ENCODINGS = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
}


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

    Raises `ObservationError` that names the topic for an encoding other than rgb8, bgr8, rgba8,
    bgra8 and mono8, for an empty picture, and for data that does not fill the picture.
    """
    if message.encoding not in _ENCODINGS:
        known = ", ".join(_ENCODINGS)
        raise ObservationError(
            f"{topic}: encoding '{message.encoding}' is not supported; set the camera driver to "
            f"one of {known}"
        )
    _check_size(message, topic)
    bridge = _find_bridge()
    if bridge is not None:
        return np.asarray(bridge.imgmsg_to_cv2(message, desired_encoding="rgb8"))
    channels, conversion = _ENCODINGS[message.encoding]
    rows = np.frombuffer(message.data, np.uint8, message.height * message.step)
    rows = rows.reshape(message.height, message.step)[:, : message.width * channels]
    picture = rows.reshape(message.height, message.width, channels)
    return picture if conversion is None else cv2.cvtColor(picture, conversion)


def _check_size(message: Image, topic: str) -> None:
    size = f"{message.width}x{message.height} {message.encoding}"
    if not message.width or not message.height:
        raise ObservationError(f"{topic}: picture of {size} is empty; check the camera")
    row = message.width * _ENCODINGS[message.encoding][0]
    if message.step < row or len(message.data) < message.height * message.step:
        raise ObservationError(
            f"{topic}: picture of {size} with row step {message.step} cannot have "
            f"{len(message.data)} bytes; check the camera driver"
        )


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
    data = np.frombuffer(message.data, np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if picture is None:
        raise ObservationError(
            f"{topic}: {data.size} bytes of format '{message.format}' are no picture; "
            "set the camera driver to JPEG or PNG"
        )
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


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
