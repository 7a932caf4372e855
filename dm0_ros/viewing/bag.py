# SPDX-License-Identifier: Apache-2.0
"""A recorded graph, told as if it happened now."""

from pathlib import Path

from dm0_ros.errors import Dm0Error
from dm0_ros.replay.bag import Message, list_topics, read_messages
from dm0_ros.replay.pictures import decode
from dm0_ros.robots.spec import RobotSpec
from dm0_ros.stamps import to_seconds
from dm0_ros.viewing.sources import list_sources
from dm0_ros.viewing.story import Story

_CLOCK = "/clock"


def tell_bag(path: Path, spec: RobotSpec, story: Story, namespace: str = "") -> int:
    """Tell a story what a bag holds of the graph in a namespace; returns how many messages.

    In a bag with simulated time, messages without a stamp are told at the newest time of /clock.
    Raises `Dm0Error` where the bag is not complete, or holds nothing that is shown.
    """
    recorded = list_topics(path)
    prefix = "/" + namespace.strip("/") + "/" if namespace.strip("/") else "/"
    sources = {
        prefix + source.topic: source
        for source in list_sources(spec, story, _decode)
        if recorded.get(prefix + source.topic) == source.kind.value
    }
    if not sources:
        there = ", ".join(sorted(recorded)) or "nothing"
        raise Dm0Error(
            f"{path}: holds nothing of a {spec.name} below {prefix}; it holds {there}. "
            "Name its robot, and its namespace with --namespace"
        )
    count, now = 0, None
    for message in read_messages(path, [*sources, _CLOCK]):
        if message.topic == _CLOCK:
            now = to_seconds(message.content.clock)
            continue
        sources[message.topic].take(message.content, message.time if now is None else now)
        count += 1
    return count


def _decode(topic: str, image):
    return decode(Message(topic, 0.0, image))
