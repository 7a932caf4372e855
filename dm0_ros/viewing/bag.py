# SPDX-License-Identifier: Apache-2.0
"""A recorded graph, told as if it happened now."""

from dataclasses import dataclass
from pathlib import Path

from dm0_ros.errors import Dm0Error
from dm0_ros.replay.bag import Message, look_into, read_raw
from dm0_ros.replay.pictures import decode
from dm0_ros.robots.spec import RobotSpec
from dm0_ros.stamps import to_seconds
from dm0_ros.viewing.sources import list_sources
from dm0_ros.viewing.story import Story

_CLOCK = "/clock"


@dataclass(frozen=True)
class Part:
    """Of a bag, by when messages were received: s after its beginning; None: no limit."""

    begin: float | None = None
    end: float | None = None


def tell_bag(
    path: Path, spec: RobotSpec, story: Story, namespace: str = "", part: Part | None = None
) -> int:
    """Tell a story what a bag holds of the graph in a namespace; returns how many messages.

    In a bag with simulated time, messages without a stamp are told at the newest time of /clock.
    Raises `Dm0Error` where the bag is not complete, or holds nothing that is shown.
    """
    contents, part = look_into(path), part or Part()
    recorded = contents.topics
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
    limits = [None if s is None else contents.begin + s for s in (part.begin, part.end)]
    count, now = 0, None
    for message in read_raw(path, [*sources, _CLOCK], *limits):
        if message.topic == _CLOCK:
            now = to_seconds(message.read().clock)
            continue
        sources[message.topic].take(message.read(), message.time if now is None else now)
        count += 1
    if not count:
        seconds = contents.end - contents.begin
        raise Dm0Error(f"{path}: no message in that part; the bag lasts {seconds:.1f} s")
    return count


def _decode(topic: str, image):
    return decode(Message(topic, 0.0, image))
