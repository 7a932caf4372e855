# SPDX-License-Identifier: Apache-2.0
"""What a recorder needs to know of topics that others publish: their class, and their quality."""

import importlib
from collections.abc import Sequence

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.topic_endpoint_info import TopicEndpointInfo
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)

_DEPTH = 100  # messages of a topic that may wait while a chunk is compressed
_WAITING = 10  # messages of a played topic that may be on their way
_FOREVER = QosTime(9223372036, 854775807)  # s, ns: how rosbag2 writes an infinite duration


def is_hidden(topic: str) -> bool:
    """Whether a part of the name starts with an underscore, as of actions and services."""
    return any(part.startswith("_") for part in topic.split("/"))


def import_type(name: str) -> type:
    """The message class of ``package/msg/Name``, or of an action's feedback."""
    package, kind, stem = name.split("/")
    action, _, part = stem.rpartition("_")
    module = importlib.import_module(f"{package}.{kind}")
    if kind == "action" and part == "FeedbackMessage":
        return getattr(module, action).Impl.FeedbackMessage
    return getattr(module, stem)


def match(publishers: list[TopicEndpointInfo]) -> QoSProfile:
    """The strictest quality that every one of the publishers offers."""
    profiles = [publisher.qos_profile for publisher in publishers]
    reliable = all(p.reliability == ReliabilityPolicy.RELIABLE for p in profiles)
    lasting = all(p.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in profiles)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if lasting else DurabilityPolicy.VOLATILE,
    )


def offer(qualities: Sequence[Qos]) -> QoSProfile:
    """The quality to play a recorded topic with: what its publishers offered, see `describe`."""
    reliable = not any(q.reliability is QosReliability.BEST_EFFORT for q in qualities)
    lasting = any(q.durability is QosDurability.TRANSIENT_LOCAL for q in qualities)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=_DEPTH if lasting else _WAITING,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if lasting else DurabilityPolicy.VOLATILE,
    )


def describe(publisher: TopicEndpointInfo) -> Qos:
    """The offered quality as bags keep it, so that a player can offer the same."""
    profile = publisher.qos_profile
    reliable = profile.reliability == ReliabilityPolicy.RELIABLE
    lasting = profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    return Qos(
        history=QosHistory.UNKNOWN,  # Fast DDS does not tell others
        depth=0,
        reliability=QosReliability.RELIABLE if reliable else QosReliability.BEST_EFFORT,
        durability=QosDurability.TRANSIENT_LOCAL if lasting else QosDurability.VOLATILE,
        deadline=_FOREVER,
        lifespan=_FOREVER,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=_FOREVER,
        avoid_ros_namespace_conventions=False,
    )
