# SPDX-License-Identifier: Apache-2.0
"""The `player` node: a bag into a live graph, by the bag's own clock; see docs/replay.md.

It publishes what the sensors said, gives the tasks that were given, tells the time, and stands in
for the controllers. One thread keeps the pace, another serves ROS.
"""

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rclpy.clock import Clock as RclpyClock
from rclpy.clock import ClockType
from rclpy.node import Node
from rclpy.publisher import Publisher
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from dm0_ros.errors import Dm0Error
from dm0_ros.msg import ActionChunk
from dm0_ros.nodes.discovery import import_type, offer
from dm0_ros.nodes.lifecycle import run_node
from dm0_ros.nodes.parameters import declare
from dm0_ros.nodes.prompting import Prompter
from dm0_ros.nodes.quality import COMMAND, SENSOR
from dm0_ros.nodes.readiness import Readiness
from dm0_ros.nodes.stamps import to_time
from dm0_ros.nodes.stand_in import StandIn
from dm0_ros.policy.trace import TRACE_TOPIC
from dm0_ros.replay.comparison import Comparison, describe
from dm0_ros.replay.layout import CLOCK, JOINTS, find_layout
from dm0_ros.replay.pace import Pace
from dm0_ros.replay.playback import Event, Kind, Part, Playback
from dm0_ros.robots.loading import load_robot

_LOOK_PERIOD = 0.1  # s between looks whether the graph is ready, and whether all is done
_STEP = 0.1  # s of the bag that ~/step plays
# s until everybody is discovered: an announcement that is lost comes again after 3 s
_DISCOVERY = 4.0
_PATIENCE = 15.0  # s after the end for the last task to end
_NODES = ("policy", "executor")


class PlayerNode(Node):
    """Waits for policy and executor, plays, tells what came of it, and is done."""

    def __init__(self) -> None:
        super().__init__("player")
        if not self.get_namespace().strip("/"):
            raise Dm0Error(
                "player: commands of a replay must reach no robot, so it has a namespace of its "
                "own: start the graph with 'dm0 replay BAG --live', or add -r __ns:=/replay"
            )
        self.done = False
        self._declare_parameters()
        self._played = self._open_topics()
        self._clock_topic = self.create_publisher(Clock, CLOCK, SENSOR)
        self._comparison = Comparison()
        live = self._comparison.live
        self.create_subscription(ActionChunk, "action_chunk", live.add, COMMAND)
        self.create_subscription(
            String, TRACE_TOPIC, lambda message: live.add_trace(message.data), COMMAND
        )
        self._stand_in = StandIn(self, self._robot)
        self._prompter = Prompter(self)
        self._nodes = [Readiness(self, name) for name in _NODES]
        self._commands: Counter[str] = Counter()  # recorded ones, by sink's topic
        self._thread = threading.Thread(target=self._play, name="pace", daemon=True)
        self._failure: Exception | None = None
        self._begun, self._ended = time.monotonic(), None
        self.create_service(SetBool, "~/pause", self._pause)
        self.create_service(Trigger, "~/step", self._step)
        steady = RclpyClock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(_LOOK_PERIOD, self._look, clock=steady)
        self.get_logger().info(f"waiting for {' and '.join(_NODES)}")

    def _declare_parameters(self) -> None:
        def fixed(name, default, description, limits=None):
            return declare(self, name, default, description, limits, read_only=True)

        path = fixed("bag", "", "The bag: its folder, or an MCAP file")
        if not path:
            raise Dm0Error("player: needs a bag; add -p bag:=<folder>")
        self._robot = load_robot(fixed("robot", "franka", "A name in config/, or a YAML's path"))
        namespace = fixed("recorded_namespace", "", "Of the recorded graph, if there are several")
        most = 1e9
        begin = fixed("begin", 0.0, "s after the bag's beginning", (0.0, most))
        end = fixed("end", 0.0, "s after the bag's beginning; 0: its end", (0.0, most))
        part = Part(
            begin,
            end or None,
            fixed("instruction", "", "One task of all the time, instead of the recorded ones"),
            fixed("recorded", False, "Also what the recorded graph put out, below recorded/"),
        )
        self._layout = find_layout(Path(path), namespace)
        self._playback = Playback(self._layout, self._robot, part)
        rate = fixed("rate", 1.0, "Seconds of the bag in a second", (0.05, 4.0))
        self._pace = Pace(self._playback.begin, rate)
        self._figures = fixed("figures", "", "JSON file for what came of it")
        self._patience = fixed(
            "ready_timeout", 300.0, "How long to wait for the graph (s)", (1.0, 3600.0)
        )

    def _open_topics(self) -> dict[str, Publisher]:
        """By played name. Types that this machine lacks are left out, with a warning."""
        contents, found = self._layout.contents, {}
        for name, topic in list(self._playback.topics.items()):
            try:
                kind = import_type(contents.topics[name])
            except (ImportError, AttributeError, ValueError) as error:
                self._playback.leave_out(name)
                self.get_logger().warning(
                    f"{name} is not played: this machine has no {contents.topics[name]} ({error})"
                )
                continue
            quality = offer(contents.qualities.get(name, ()))
            found[topic] = self.create_publisher(kind, topic, quality)
        return found

    def stop(self) -> None:
        """End the playback; what came of it so far is told. Safe to call twice."""
        self._pace.end()
        if self._thread.is_alive():
            self._thread.join()
        if self._thread.ident and not self.done:
            self._conclude()

    def _look(self) -> None:
        """See what to wait for: the graph, the end of the bag, the end of the last task."""
        if self._failure is not None:
            raise self._failure
        if not self._thread.ident:
            self._await_graph()
        elif not self._thread.is_alive() and not self.done:
            self._ended = self._ended or time.monotonic()
            if self._prompter.idle or time.monotonic() - self._ended > _PATIENCE:
                self._conclude()

    def _await_graph(self) -> None:
        """Until all are there, the clock stands at the beginning."""
        self._tell_time(self._playback.first_time)
        missing = [complaint for node in self._nodes if (complaint := node.complaint())]
        if self._played[JOINTS].get_subscription_count() < len(_NODES):
            missing.append(f"they do not both listen to {JOINTS} yet")
        waited = time.monotonic() - self._begun
        if not missing and waited > _DISCOVERY:
            self._refuse_rivals()
            self._prompter.reset()
            self._thread.start()
            self.get_logger().info(
                f"playing {self._layout.path}: {self._playback.end - self._playback.begin:.1f} s, "
                f"{len(self._playback.assignments)} tasks"
            )
        elif missing and waited > self._patience:
            raise Dm0Error(f"player: not ready within {self._patience:g} s: {'; '.join(missing)}")

    def _refuse_rivals(self) -> None:
        """Raise `Dm0Error` where somebody else tells the time, or is the robot's sensors."""
        for publisher in (self._clock_topic, *self._played.values()):
            topic = publisher.topic_name
            names = [
                f"{info.node_namespace.rstrip('/')}/{info.node_name}"
                for info in self.get_publishers_info_by_topic(topic)
            ]
            if self.get_fully_qualified_name() in names:
                names.remove(self.get_fully_qualified_name())
            if names:
                raise Dm0Error(
                    f"player: {', '.join(sorted(names))} publishes {topic} too: end it, or play "
                    "in another ROS domain (ROS_DOMAIN_ID) or namespace"
                )

    def _tell_time(self, now: float) -> None:
        self._clock_topic.publish(Clock(clock=to_time(now)))

    def _play(self) -> None:
        """The whole programme, in the pace's thread."""
        try:
            for event in self._playback.kept():
                self._perform(event)
            for event in self._playback:
                if not self._pace.wait(event.moment):
                    return
                self._perform(event)
        except Exception as error:
            self._failure = error

    def _perform(self, event: Event) -> None:
        match event.kind:
            case Kind.CLOCK:
                self._tell_time(event.content)
            case Kind.MESSAGE:
                self._played[event.topic].publish(event.content)
            case Kind.COMMAND:
                self._commands[event.topic] += 1
            case Kind.PLAN:
                self._comparison.recorded.add(event.content)
            case Kind.TRACE:
                self._comparison.recorded.add_trace(event.content)
            case Kind.BEGIN:
                self._prompter.begin(event.content)
            case Kind.END:
                self._prompter.end(event.content)
            case Kind.RESET:
                self._prompter.reset()

    def _pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._pace.pause(request.data)
        response.success, response.message = True, "paused" if request.data else "goes on"
        return response

    def _step(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._pace.step(_STEP)
        response.message = f"{_STEP:g} s" if response.success else "pause it first (~/pause)"
        return response

    def _conclude(self) -> None:
        """Tell what came of it."""
        self.done = True
        figures = self._summarise()
        for sentence in describe(figures):
            self.get_logger().info(sentence)
        if self._figures:
            Path(self._figures).parent.mkdir(parents=True, exist_ok=True)
            Path(self._figures).write_text(json.dumps(figures, indent=2) + "\n")

    def _summarise(self) -> dict:
        return {
            "bag": str(self._layout.path),
            "seconds": self._playback.end - self._playback.begin,
            "latest": self._pace.latest,
            **self._comparison.summarise(),
            "tasks": [
                {
                    "instruction": attempt.assignment.instruction,
                    "recorded_outcome": attempt.assignment.outcome,
                    "outcome": attempt.outcome,
                    "message": attempt.message,
                    "plans": attempt.plans,
                }
                for attempt in self._prompter.attempts
            ],
            "executor": {"dropped": self._prompter.dropped, "stopped": self._prompter.faults},
            "commands": {
                sink.topic: {
                    "live": self._stand_in.counts[sink.topic],
                    "recorded": self._commands[sink.topic],
                }
                for sink in self._robot.sinks
            },
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node to the end of the bag, or until SIGINT or SIGTERM."""
    return run_node(PlayerNode, arguments)


if __name__ == "__main__":
    sys.exit(main())
