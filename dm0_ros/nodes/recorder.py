# SPDX-License-Identifier: Apache-2.0
"""The `recorder` node: every topic of the graph into one MCAP bag, messages as they came.

Topics are found as they appear and taken with the quality that their publishers offer. A message
keeps its own stamps; its log time is when the middleware received it. What the policy says of
itself, version and commit are also in the bag's metadata. Hidden topics (a part of
the name starts with an underscore: those of actions) are left out, as rosbag2 does.
"""

import importlib
import sys
from functools import partial
from pathlib import Path

from rclpy.event_handler import QoSMessageLostInfo, SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from std_msgs.msg import String

from dm0_ros.errors import Dm0Error
from dm0_ros.nodes.lifecycle import run_node
from dm0_ros.nodes.parameters import declare
from dm0_ros.policy.trace import FACTS_TOPIC, find_commit, find_version
from dm0_ros.replay.bag import BagWriter

_LOOK_PERIOD = 0.2  # s between looks at the graph
_DEPTH = 100  # messages of a topic that may wait while a chunk is compressed
_FOREVER = QosTime(9223372036, 854775807)  # s, ns: how rosbag2 writes an infinite duration


class RecorderNode(Node):
    """Subscribes to whatever is published and writes it down."""

    def __init__(self) -> None:
        super().__init__("recorder")
        path = declare(self, "path", "", "Folder of the new bag", read_only=True)
        if not path:
            raise Dm0Error("recorder: needs a path for the bag; add -p path:=<folder>")
        self._bag: BagWriter | None = BagWriter(Path(path))
        self._facts = {"dm0_ros.version": find_version(), "dm0_ros.commit": find_commit()}
        self._lost: dict[str, int] = {}
        self._refused: set[str] = set()
        self._look()
        self.create_timer(_LOOK_PERIOD, self._look)
        self.get_logger().info(f"recording to {path}")

    def stop(self) -> None:
        """Close the bag. Safe to call twice."""
        if self._bag is None:
            return
        for subscription in list(self.subscriptions):
            self._drain(subscription)
        bag, self._bag = self._bag, None
        bag.describe(self._facts)
        bag.close()
        counts = bag.count()
        self.get_logger().info(
            f"closed {bag.path}: {sum(counts.values())} messages of {len(counts)} topics"
        )
        for topic, lost in sorted(self._lost.items()):
            self.get_logger().warning(f"{topic}: {lost} messages were lost on their way here")

    def _look(self) -> None:
        if self._bag is None:
            return
        for topic, types in self.get_topic_names_and_types():
            known = topic in self._bag.topics or topic in self._refused
            if not known and not _is_hidden(topic):
                self._add(topic, types)

    def _add(self, topic: str, types: list[str]) -> None:
        publishers = self.get_publishers_info_by_topic(topic)
        if not publishers:
            return  # only listeners so far
        if len(types) > 1:
            self._refuse(topic, f"has several types: {', '.join(types)}")
            return
        try:
            kind = _import_type(types[0])
            self._bag.add_topic(topic, types[0], [_describe(p) for p in publishers])
        except (Dm0Error, ImportError, AttributeError) as error:
            self._refuse(topic, str(error))
            return
        events = SubscriptionEventCallbacks(message_lost=partial(self._note_lost, topic))
        # rclpy looks at the callback's signature to know that it wants to be told the times
        self.create_subscription(
            kind,
            topic,
            lambda data, info: self._write(topic, data, info),
            _match(publishers),
            event_callbacks=events,
            raw=True,
        )

    def _drain(self, subscription: Subscription) -> None:
        """Write what has arrived but was not looked at yet; no one spins any more."""
        with subscription.handle:
            while taken := subscription.handle.take_message(subscription.msg_type, True):
                self._write(subscription.topic_name, *taken)

    def _refuse(self, topic: str, why: str) -> None:
        self._refused.add(topic)
        self.get_logger().error(f"cannot record {topic}: {why}")

    def _write(self, topic: str, data: bytes, info: dict) -> None:
        if self._bag is not None:
            self._bag.write(topic, info["received_timestamp"], data)
            if topic.endswith(f"/{FACTS_TOPIC}"):
                self._facts[f"dm0_ros{topic}"] = deserialize_message(data, String).data

    def _note_lost(self, topic: str, info: QoSMessageLostInfo) -> None:
        self._lost[topic] = info.total_count


def _is_hidden(topic: str) -> bool:
    return any(part.startswith("_") for part in topic.split("/"))


def _import_type(name: str) -> type:
    """The message class of ``package/msg/Name``."""
    package, _, stem = name.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), stem)


def _match(publishers: list[TopicEndpointInfo]) -> QoSProfile:
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


def _describe(publisher: TopicEndpointInfo) -> Qos:
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


def main() -> int:
    """Run the node until SIGINT or SIGTERM; the bag is closed then."""
    return run_node(RecorderNode)


if __name__ == "__main__":
    sys.exit(main())
