# SPDX-License-Identifier: Apache-2.0
"""The `recorder` node: every topic of the graph into one MCAP bag, messages as they came.

Topics are found as they appear and taken with the quality that their publishers offer. A message
keeps its own stamps; its log time is when the middleware received it. Hidden topics (a part of
the name starts with an underscore) are left out, as rosbag2 does, but for what actions tell
everyone, where ``actions`` is set. What is on the disk half a second ago outlives the process.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rclpy.event_handler import QoSMessageLostInfo, SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from std_msgs.msg import String
from std_srvs.srv import SetBool

from dm0_ros.errors import Dm0Error
from dm0_ros.nodes.discovery import describe, import_type, is_hidden, match
from dm0_ros.nodes.lifecycle import run_node
from dm0_ros.nodes.marking import Marker
from dm0_ros.nodes.parameters import declare
from dm0_ros.policy.marks import MARKS_TOPIC, TELEOPERATION, Mark
from dm0_ros.policy.registry import find_checkpoint
from dm0_ros.policy.trace import FACTS_TOPIC, digest_checkpoint, find_commit, find_version
from dm0_ros.replay.bag import BagWriter
from dm0_ros.replay.marks import join_marks
from dm0_ros.replay.writing import Limits
from dm0_ros.robots.loading import load_robot, read_sources

_LOOK_PERIOD = 0.2  # s between looks at the graph
_FLUSH_PERIOD = (
    0.25  # s: the most that is lost when the process is killed, with what is on its way
)
_TOLD = ("/_action/status", "/_action/feedback")  # by actions, to everyone
# Of every namespace, and of none.
_COMMON = ("/clock", "/tf", "/tf_static", "/diagnostics", "/rosout", "/parameter_events")
_MEGABYTE = 1_000_000


class RecorderNode(Node):
    """Subscribes to whatever is published and writes it down."""

    def __init__(self) -> None:
        super().__init__("recorder")
        path = declare(self, "path", "", "Folder of the new bag", read_only=True)
        if not path:
            raise Dm0Error("recorder: needs a path for the bag; add -p path:=<folder>")
        self._declare_choice()
        self._facts = {"dm0_ros.version": find_version(), "dm0_ros.commit": find_commit()}
        self._facts |= self._read_facts()
        limits = self._declare_limits()
        self._lost: dict[str, int] = {}
        self._refused: dict[str, str] = {}
        self._told: set[str] = set()  # topics that say something for the metadata
        self._marks: list[Mark] = []
        self._bag: BagWriter | None = BagWriter(Path(path), limits)
        self._bag.describe(self._facts)
        self._marker = self._offer_marks() if self._teleoperation else None
        self._look()
        self.create_timer(_LOOK_PERIOD, self._look)
        self.create_timer(_FLUSH_PERIOD, self._flush)
        self.get_logger().info(f"recording to {path}")

    def _declare_choice(self) -> None:
        topics = declare(
            self, "topics", "", "Names, relative or not, with commas between; empty: all"
        )
        self._chosen = {self.resolve_topic_name(t.strip()) for t in topics.split(",") if t}
        self._actions = declare(self, "actions", False, "Also status and feedback of actions")
        self._teleoperation = declare(
            self, "teleoperation", False, "Offer ~/episode to mark episodes", read_only=True
        )
        declare(self, "instruction", "", "With teleoperation: of the episodes from now on")

    def _declare_limits(self) -> Limits:
        most = 1e9
        return Limits(
            declare(self, "split_seconds", 0.0, "s of one file; 0: no limit", (0.0, most)),
            declare(self, "split_mb", 0, "MB of one file; 0: no limit", (0, 10**9)) * _MEGABYTE,
            declare(self, "keep_free_mb", 50, "MB of the disk that stay free", (0, 10**9))
            * _MEGABYTE,
        )

    def _read_facts(self) -> dict[str, str]:
        """About robot and checkpoint, where they were given; the policy tells its own."""
        robot = declare(self, "robot", "", "Name in config/ or path of a YAML", read_only=True)
        checkpoint = declare(self, "checkpoint", "", "By name, or a folder", read_only=True)
        facts, self._expected = {}, ()
        if self._teleoperation:
            facts["dm0_ros.teleoperation"] = "true"
        if robot:
            spec = load_robot(robot)
            facts |= {"dm0_ros.robot": robot, "dm0_ros.robot_yaml": read_sources(robot)}
            self._expected = ("joint_states",) if spec.joints else ()
            self._slots = spec.camera_slots
        else:
            self._slots = ()
        if checkpoint:
            found = find_checkpoint(checkpoint, load_robot(robot).name if robot else "franka")
            facts["dm0_ros.checkpoint"] = checkpoint
            facts["dm0_ros.checkpoint_sha256"] = digest_checkpoint(found.folder)
        return facts

    def _offer_marks(self) -> Marker:
        self.create_service(SetBool, "~/episode", self._mark)
        return Marker(self, TELEOPERATION)

    def _mark(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """An episode begins or ends, as the person with the handles says."""
        running = self._marker.running is not None
        response.success = request.data != running
        if not response.success:
            response.message = "an episode runs already" if running else "no episode runs"
        elif request.data:
            self._marker.begin(self.get_parameter("instruction").value)
            response.message = "an episode has begun"
        else:
            self._marker.end()
            response.message = "the episode has ended"
        self.get_logger().info(response.message)
        return response

    def stop(self) -> None:
        """Close the bag. Safe to call twice."""
        if self._bag is None:
            return
        bag, self._bag = self._bag, None
        try:
            for subscription in list(self.subscriptions):
                self._drain(subscription, bag)
        except Dm0Error as error:
            self.get_logger().error(str(error))
        missing = self._list_missing(bag.count())
        episodes = [asdict(mark) for mark in join_marks(self._marks)]
        if episodes:
            self._facts["dm0_ros.episodes"] = json.dumps(episodes)
        try:
            bag.describe(self._facts)
        except Dm0Error as error:
            self.get_logger().error(str(error))
        bag.note_missing(*missing)
        bag.close()
        counts = bag.count()
        self.get_logger().info(
            f"closed {bag.path}: {sum(counts.values())} messages of {len(counts)} topics, "
            f"{len(episodes)} episodes"
        )
        for sentence in missing:
            self.get_logger().warning(sentence)

    def _list_missing(self, counts: dict[str, int]) -> list[str]:
        """Sentences about what the bag lacks."""
        sentences = [f"cannot record {topic}: {why}" for topic, why in self._refused.items()]
        for topic, lost in sorted(self._lost.items()):
            sentences.append(f"{topic}: {lost} messages were lost on their way here")
        expected = [] if self._chosen else [(topic,) for topic in self._expected]
        if not self._chosen:
            kinds = ("image_raw", "compressed")
            expected += [tuple(f"camera/{slot}/{kind}" for kind in kinds) for slot in self._slots]
        for names in expected:
            if not any(counts.get(self.resolve_topic_name(name)) for name in names):
                sentences.append(f"no message of {' or '.join(names)} came")
        return sentences

    def _flush(self) -> None:
        if self._bag is not None:
            self._bag.flush()

    def _look(self) -> None:
        if self._bag is None:
            return
        for topic, types in self.get_topic_names_and_types():
            known = topic in self._bag.topics or topic in self._refused
            if not known and self._is_wanted(topic):
                self._add(topic, types)

    def _is_wanted(self, topic: str) -> bool:
        if is_hidden(topic) and not (self._actions and topic.endswith(_TOLD)):
            return False
        if self._chosen:
            return topic in self._chosen or topic.endswith(f"/{MARKS_TOPIC}")
        return topic in _COMMON or topic.startswith(f"{self.get_namespace().rstrip('/')}/")

    def _add(self, topic: str, types: list[str]) -> None:
        publishers = self.get_publishers_info_by_topic(topic)
        if not publishers:
            return  # only listeners so far
        if len(types) > 1:
            self._refuse(topic, f"has several types: {', '.join(types)}")
            return
        try:
            kind = import_type(types[0])
            self._bag.add_topic(topic, types[0], [describe(p) for p in publishers])
        except (Dm0Error, ImportError, AttributeError) as error:
            self._refuse(topic, str(error))
            return
        if kind is String and topic.endswith((f"/{FACTS_TOPIC}", f"/{MARKS_TOPIC}")):
            self._told.add(topic)
        events = SubscriptionEventCallbacks(message_lost=partial(self._note_lost, topic))
        # rclpy looks at the callback's signature to know that it wants to be told the times
        self.create_subscription(
            kind,
            topic,
            lambda data, info: self._write(self._bag, topic, data, info),
            match(publishers),
            event_callbacks=events,
            raw=True,
        )

    def _drain(self, subscription: Subscription, bag: BagWriter) -> None:
        """Write what has arrived but was not looked at yet; no one spins any more."""
        with subscription.handle:
            while taken := subscription.handle.take_message(subscription.msg_type, True):
                self._write(bag, subscription.topic_name, *taken)

    def _refuse(self, topic: str, why: str) -> None:
        self._refused[topic] = why
        self.get_logger().error(f"cannot record {topic}: {why}")

    def _write(self, bag: BagWriter | None, topic: str, data: bytes, info: dict) -> None:
        if bag is None:
            return
        bag.write(topic, info["received_timestamp"], data)
        if topic in self._told:
            self._listen(bag, topic, deserialize_message(data, String).data)

    def _listen(self, bag: BagWriter, topic: str, text: str) -> None:
        """What nodes of ours say for the bag's metadata."""
        if topic.endswith(f"/{FACTS_TOPIC}"):
            self._facts[f"dm0_ros{topic}"] = text
            bag.describe(self._facts)
            return
        try:
            self._marks.append(Mark.parse(text))
        except Dm0Error as error:
            self._told.discard(topic)
            self.get_logger().warning(f"{topic} is not about our episodes: {error}")

    def _note_lost(self, topic: str, info: QoSMessageLostInfo) -> None:
        self._lost[topic] = info.total_count


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; the bag is closed then."""
    return run_node(RecorderNode, arguments)


if __name__ == "__main__":
    sys.exit(main())
