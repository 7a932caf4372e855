# SPDX-License-Identifier: Apache-2.0
"""Pictures out of a bag: raw and compressed ones, all of them or those at certain moments."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dm0_ros.policy.decoding import decode_compressed, decode_image
from dm0_ros.replay.bag import Message, list_topics, read_messages
from dm0_ros.stamps import to_seconds

_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


class Frame(NamedTuple):
    """One picture of a topic."""

    time: float  # s since 1970: its stamp, else when it was received
    picture: np.ndarray  # (height, width, 3) uint8 RGB


def find_view(bag: Path, slots: Sequence[str]) -> str | None:
    """The topic to show: the overlay of the first slot that has one, else a camera, else None."""
    topics = [name for name, kind in list_topics(bag).items() if kind in _TYPES]
    for pattern in ("overlay/{}/", "camera/{}/"):
        for slot in slots:
            for topic in sorted(topics):
                if pattern.format(slot) in topic:
                    return topic
    return None


def read_frames(bag: Path, topic: str) -> Iterator[Frame]:
    """The pictures of a topic in order.

    Raises `Dm0Error` that names the topic for an encoding that is not supported.
    """
    for message in read_messages(bag, [topic]):
        seconds = to_seconds(message.content.header.stamp)
        yield Frame(seconds or message.time, decode(message))


def pick_frames(bag: Path, topic: str, moments: Sequence[float]) -> list[Frame | None]:
    """For each moment (s since 1970) the first picture at or after it, or None."""
    picked: list[Frame | None] = [None] * len(moments)
    waiting = sorted(range(len(moments)), key=moments.__getitem__)
    for frame in read_frames(bag, topic):
        while waiting and moments[waiting[0]] <= frame.time:
            picked[waiting.pop(0)] = frame
        if not waiting:
            break
    return picked


def decode(message: Message) -> np.ndarray:
    """The picture (height, width, 3) uint8 RGB of an Image or CompressedImage.

    Raises `Dm0Error` that names the topic for what cannot be decoded.
    """
    image = message.content
    decode_picture = decode_compressed if hasattr(image, "format") else decode_image
    return decode_picture(image, message.topic)
