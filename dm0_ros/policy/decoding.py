# SPDX-License-Identifier: Apache-2.0
"""Pictures out of messages, whatever read them: a graph or a bag.

Messages are anything with the fields of sensor_msgs/Image or sensor_msgs/CompressedImage.
"""

from typing import Any

import cv2
import numpy as np

from dm0_ros.errors import ObservationError

# Channels of the encodings that cameras send, and the OpenCV conversion to RGB.
_ENCODINGS = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
}


def decode_image(message: Any, topic: str) -> np.ndarray:
    """The picture (height, width, 3) uint8 RGB of an Image, its row step honoured.

    For errors see `check_image`.
    """
    check_image(message, topic)
    channels, conversion = _ENCODINGS[message.encoding]
    rows = np.frombuffer(message.data, np.uint8, message.height * message.step)
    rows = rows.reshape(message.height, message.step)[:, : message.width * channels]
    picture = rows.reshape(message.height, message.width, channels)
    return picture if conversion is None else cv2.cvtColor(picture, conversion)


def check_image(message: Any, topic: str) -> None:
    """Raise `ObservationError` that names the topic for an Image that cannot be decoded.

    That is one of an encoding other than rgb8, bgr8, rgba8, bgra8 and mono8, an empty one, and
    data that does not fill the picture.
    """
    if message.encoding not in _ENCODINGS:
        known = ", ".join(_ENCODINGS)
        raise ObservationError(
            f"{topic}: encoding '{message.encoding}' is not supported; set the camera driver to "
            f"one of {known}"
        )
    size = f"{message.width}x{message.height} {message.encoding}"
    if not message.width or not message.height:
        raise ObservationError(f"{topic}: picture of {size} is empty; check the camera")
    row = message.width * _ENCODINGS[message.encoding][0]
    if message.step < row or len(message.data) < message.height * message.step:
        raise ObservationError(
            f"{topic}: picture of {size} with row step {message.step} cannot have "
            f"{len(message.data)} bytes; check the camera driver"
        )


def decode_compressed(message: Any, topic: str) -> np.ndarray:
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
