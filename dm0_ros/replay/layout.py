# SPDX-License-Identifier: Apache-2.0
"""Which topics of a bag are whose: the graph's namespace, its plans, pictures and joints."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dm0_ros.errors import Dm0Error
from dm0_ros.policy.decoding import decode_compressed, decode_image
from dm0_ros.policy.trace import FACTS_TOPIC, TRACE_TOPIC, Facts
from dm0_ros.replay.bag import Contents, look_into, read_messages

CLOCK = "/clock"
PLANS, JOINTS, STATUS = "action_chunk", "joint_states", "executor_status"
_TYPES = {
    PLANS: "dm0_ros/msg/ActionChunk",
    TRACE_TOPIC: "std_msgs/msg/String",
    FACTS_TOPIC: "std_msgs/msg/String",
    JOINTS: "sensor_msgs/msg/JointState",
    STATUS: "dm0_ros/msg/ExecutorStatus",
}
_PICTURES = {
    "image_raw": ("sensor_msgs/msg/Image", decode_image),
    "compressed": ("sensor_msgs/msg/CompressedImage", decode_compressed),
}

Decode = Callable[[Any], np.ndarray]


@dataclass(frozen=True)
class Layout:
    """A recorded graph."""

    path: Path
    contents: Contents
    prefix: str  # of its names: "/", or "/<namespace>/"

    def name(self, topic: str) -> str:
        """The recorded name of a relative one."""
        return self.prefix + topic

    def holds(self, topic: str) -> bool:
        """Whether there are messages of it. Raises `Dm0Error` where its type is another one."""
        name = self.name(topic)
        found, wanted = self.contents.topics.get(name), _TYPES.get(topic)
        if found and wanted and found != wanted:
            raise Dm0Error(f"{self.path}: {name} is of type {found}; expected {wanted}")
        return self.contents.counts.get(name, 0) > 0

    def require(self, topic: str) -> str:
        """The recorded name of a topic; raises `Dm0Error` where the bag lacks it."""
        if not self.holds(topic):
            there = ", ".join(sorted(self.contents.topics)) or "nothing"
            raise Dm0Error(f"{self.path}: no messages of {self.name(topic)}; it has {there}")
        return self.name(topic)

    def find_cameras(
        self, slots: Sequence[str], compressed: bool
    ) -> dict[str, tuple[str, Decode]]:
        """By recorded topic: the slot whose pictures it has, and what decodes their messages.

        Those that the policy looked at, else the other kind. Raises `Dm0Error` that names the
        slots without any.
        """
        kinds = sorted(_PICTURES, key=lambda kind: (kind == "compressed") != compressed)
        found, missing = {}, []
        for slot in slots:
            topics = [(f"camera/{slot}/{kind}", kind) for kind in kinds]
            there = [(topic, kind) for topic, kind in topics if self.holds(topic)]
            if not there:
                missing.append(slot)
                continue
            topic, kind = there[0]
            wanted, decode = _PICTURES[kind]
            name = self.name(topic)
            if self.contents.topics[name] != wanted:
                raise Dm0Error(
                    f"{self.path}: {name} is of type {self.contents.topics[name]}; expected "
                    f"{wanted}"
                )
            found[name] = slot, partial(decode, topic=topic)
        if missing:
            raise Dm0Error(
                f"{self.path}: no pictures of camera slot {', '.join(missing)}, which the "
                "checkpoint looks at: record all of its cameras, or choose another checkpoint"
            )
        return found

    def read_facts(self) -> Facts | None:
        """By what the plans were made; None where that was not recorded."""
        if not self.holds(FACTS_TOPIC):
            return None
        *_, last = read_messages(self.path, [self.name(FACTS_TOPIC)])
        return Facts.parse(last.content.data)


def find_layout(path: Path, namespace: str = "") -> Layout:
    """The graph in a bag.

    Raises `Dm0Error` where ``path`` is no complete bag, where it has no messages, and where it
    holds several graphs and ``namespace`` does not say which, or one that is not there.
    """
    contents = look_into(path)
    if math.isnan(contents.begin):
        raise Dm0Error(f"{path}: the bag has no messages")
    if namespace.strip("/"):
        prefix = f"/{namespace.strip('/')}/"
        if not any(name.startswith(prefix) for name in contents.topics):
            there = ", ".join(sorted(contents.topics))
            raise Dm0Error(f"{path}: nothing below {prefix}; it has {there}")
        return Layout(path, contents, prefix)
    for mark in (PLANS, JOINTS):
        found = [name for name in contents.topics if name.endswith(f"/{mark}")]
        if len(found) > 1:
            raise Dm0Error(
                f"{path}: several graphs ({', '.join(sorted(found))}); choose one with --namespace"
            )
        if found:
            return Layout(path, contents, found[0].removesuffix(mark))
    return Layout(path, contents, "/")
