# SPDX-License-Identifier: Apache-2.0
"""A simulator as a node: a thread that keeps its pace, cameras in turn, simulated time, resets.

Motion and pictures share that thread, paced by the monotonic clock, because an EGL context belongs
to one thread; cameras take turns, so that motion waits for one picture at most.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from builtin_interfaces.msg import Time
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from std_srvs.srv import Trigger

from dm0_ros.errors import Dm0Error, RobotError
from dm0_ros.navigation.views import View
from dm0_ros.nodes.cameras import CameraTopics
from dm0_ros.nodes.pacing import Pacer
from dm0_ros.nodes.parameters import declare
from dm0_ros.nodes.quality import SENSOR
from dm0_ros.nodes.stamps import to_time
from dm0_ros.robots.loading import load_robot

_REPORT_PERIOD = 1.0  # s between looks at the thread
_PATIENCE = 0.25  # s of delay that one tick makes up for
_END_TIMEOUT = 5.0  # s


class SimulationNode(Node, ABC):
    """Subclasses read their own parameters, make their simulator and topics, and then `begin`.

    What they override is called with ``lock`` held, but for `close` and each camera's first
    `look`; all but `restart` in the simulator's thread.
    """

    def __init__(self, name: str, robot: str) -> None:
        """``robot`` is the default of the parameter. Raises `RobotError` for one that cannot be
        simulated."""
        super().__init__(name)
        robot = declare(
            self, "robot", robot, "Robot: a name in config/, or a YAML", read_only=True
        )
        self.spec = load_robot(robot)
        if self.spec.simulation is None:
            raise RobotError(f"{robot}: its YAML has no 'simulation' section; add one")
        world = declare(
            self,
            "world",
            "",
            "In config/worlds/ (houses: or habitat:FILE); empty: the robot's own",
        )
        self.world = world or self.spec.simulation.world
        self.seed = declare(self, "seed", 0, "Seed of the sequence of scenes", (0, 2**31 - 1))
        clock = "Publish simulated time on /clock and use it for stamps"
        clock = declare(self, "publish_clock", False, clock)
        self._clock_topic = self.create_publisher(Clock, "/clock", SENSOR) if clock else None
        self.lock = threading.Lock()  # held by whoever touches the simulator
        self.episode = 1
        self._simulated = 0.0  # s since the start, over all resets
        self._deadline: float | None = None  # of the tick before
        self._lost = 0.0  # s that were not simulated because this machine was too slow
        self._lost_told = 0.0  # s of these that were logged
        self._complaints: dict[str, str] = {}  # topic -> what was wrong with its last command
        self._ending, self._ended = threading.Event(), threading.Event()
        self._failure: Exception | None = None

    @abstractmethod
    def advance(self, duration: float) -> None:
        """Let ``duration`` s pass."""

    @abstractmethod
    def report(self, stamp: Time) -> None:
        """Publish what the drivers of a real robot would."""

    @abstractmethod
    def look(self, slot: str) -> View:
        """What a camera sees."""

    @abstractmethod
    def restart(self) -> None:
        """Set another scene; `episode` is its number already."""

    @abstractmethod
    def close(self) -> None:
        """Free what renders."""

    def begin(self, rate: float, wants_depth: bool = False) -> None:
        """Tick at ``rate`` Hz from now on."""
        self._cameras = CameraTopics(self, self.spec.simulation, wants_depth)
        self.create_service(Trigger, "~/reset", self._reset)
        self.create_timer(_REPORT_PERIOD, self._watch)
        self._pacer = Pacer(rate, self._step, self._break_down)
        self._pacer.start()
        self.get_logger().info(f"simulating {self.spec.title} in '{self.world}', seed {self.seed}")

    def stop(self) -> None:
        """End the thread, which closes the cameras that it opened."""
        self._ending.set()
        self._ended.wait(_END_TIMEOUT)
        self._pacer.stop()

    def stamp(self) -> Time:
        """Now: simulated time, where that is published."""
        if self._clock_topic:
            return to_time(self._simulated)
        return self.get_clock().now().to_msg()

    def take(self, topic: str, obey: Callable, message) -> None:
        """Obey a command; where ``obey`` raises `RobotError`, the sentence is said."""
        try:
            obey(message)
        except RobotError as error:
            # Commands come a hundred times a second: the same sentence is said once.
            if self._complaints.get(topic) != str(error):
                self.get_logger().error(f"{topic}: {error}")
            self._complaints[topic] = str(error)
        else:
            self._complaints.pop(topic, None)

    def _step(self, deadline: float) -> None:
        """One tick of the thread."""
        if self._ending.is_set():
            if not self._ended.is_set():
                self.close()
                self._ended.set()
            return
        if self._deadline is None:
            for slot in self.spec.simulation.cameras:
                self.look(slot)  # the first picture takes many times longer than the rest
            self._deadline = time.monotonic()
            return
        passed, self._deadline = max(deadline - self._deadline, 0.0), max(deadline, self._deadline)
        self._lost += max(passed - _PATIENCE, 0.0)
        with self.lock:
            self.advance(min(passed, _PATIENCE))
            self._simulated += min(passed, _PATIENCE)
            stamp = self.stamp()
            if self._clock_topic:
                self._clock_topic.publish(Clock(clock=stamp))
            self.report(stamp)
            slot = self._cameras.due(self._simulated)
            view = self.look(slot) if slot else None
        if view:
            self._cameras.publish(slot, view, stamp)

    def _reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self.lock:
            self.episode += 1
            self.restart()
        response.success = True
        response.message = f"scene {self.episode} of seed {self.seed}"
        self.get_logger().info(f"reset: {response.message}")
        return response

    def _break_down(self, error: Exception) -> None:
        self._failure = error
        self._ended.set()

    def _watch(self) -> None:
        if self._failure:
            raise Dm0Error(f"the simulator's thread ended: {self._failure!r}") from self._failure
        if self._lost > self._lost_told:
            self._lost_told = self._lost
            self.get_logger().warning(
                f"this machine is too slow: {self._lost:.2f} s were not simulated so far; "
                "lower camera_rate",
                throttle_duration_sec=10.0,
            )
