# SPDX-License-Identifier: Apache-2.0
"""Which topics a viewer of a robot listens to, and what becomes of their messages."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

from dm0_ros.robots.spec import RobotSpec, SinkKind
from dm0_ros.stamps import to_seconds
from dm0_ros.viewing.story import Story


class Kind(str, Enum):
    """What a message is; the value is its type."""

    PICTURE = "sensor_msgs/msg/Image"
    JPEG = "sensor_msgs/msg/CompressedImage"
    JOINTS = "sensor_msgs/msg/JointState"
    POSITIONS = "std_msgs/msg/Float64MultiArray"
    TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
    PLAN = "dm0_ros/msg/ActionChunk"
    SCAFFOLD = "dm0_ros/msg/SpatialScaffold"
    STATUS = "dm0_ros/msg/ExecutorStatus"


@dataclass(frozen=True)
class Source:
    """One topic, relative to the graph's namespace."""

    topic: str
    kind: Kind
    take: Callable[[Any, float], None]  # the message, and when it was received (s)


def list_sources(
    spec: RobotSpec, story: Story, decode: Callable[[str, Any], Any]
) -> tuple[Source, ...]:
    """Everything that a graph of this robot says and that is shown.

    ``decode`` makes an RGB array of topic and raw picture, and differs with what reads messages.
    """
    sources = [
        Source("executor_status", Kind.STATUS, story.take_status),
        Source("action_chunk", Kind.PLAN, story.take_plan),
        Source("scaffold", Kind.SCAFFOLD, story.take_scaffold),
        Source("joint_states", Kind.JOINTS, story.take_joints),
    ]
    for sink in spec.sinks:
        if sink.kind is SinkKind.FORWARD_POSITION:
            take = partial(story.take_positions, sink.names)
            sources.append(Source(sink.topic, Kind.POSITIONS, take))
        elif sink.kind is SinkKind.JOINT_TRAJECTORY:
            sources.append(Source(sink.topic, Kind.TRAJECTORY, story.take_trajectory))
    for slot in spec.camera_slots:
        raw = f"camera/{slot}/image_raw"
        show = partial(_show_raw, story, slot, partial(decode, raw))
        sources.append(Source(raw, Kind.PICTURE, show))
        jpeg = partial(story.take_jpeg, slot)
        sources.append(Source(f"camera/{slot}/compressed", Kind.JPEG, jpeg))
    return tuple(sources)


def _show_raw(story: Story, slot: str, decode: Callable, message, received: float) -> None:
    moment = to_seconds(message.header.stamp) or received
    story.take_picture(slot, moment, decode(message))
