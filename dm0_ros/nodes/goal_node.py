# SPDX-License-Identifier: Apache-2.0
"""A lifecycle node with one action, one thread that thinks, and its health on /diagnostics."""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup
from rclpy.qos import QoSProfile

from dm0_ros.errors import Dm0Error
from dm0_ros.nodes.diagnostics import PlanDiagnostics
from dm0_ros.nodes.goals import GoalServer
from dm0_ros.nodes.lifecycle import LifecycleNode
from dm0_ros.nodes.stamps import read_clock
from dm0_ros.policy.errand import Errand
from dm0_ros.policy.protocol import Policy
from dm0_ros.policy.verdict import Verdict

_DIAGNOSTICS_PERIOD = 1.0  # s
_END_TIMEOUT = 10.0  # s: how long a deactivation waits for the inference in progress


class GoalNode(LifecycleNode, ABC):
    """Subclasses `configure`: `employ` the thread, `subscribe`, and at last `serve`.

    The policy, if it is in this process, lives in that thread from its loading on; ROS is served
    by others.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._worker: ThreadPoolExecutor | None = None
        self._server: GoalServer | None = None
        self._policy: Policy | None = None
        self._undo: list[Callable[[], object]] = []

    @abstractmethod
    def ages(self) -> dict[str, float]:
        """Seconds since the newest of each sensor's messages was stamped, by sensor."""

    @abstractmethod
    def complaint(self) -> str:
        """What is wrong with what the sensors say, or ''."""

    def state(self) -> str:
        """What the node does."""
        errand = self._server.errand
        return f"pursues '{errand.instruction}'" if errand else "waits for an instruction"

    def value(self, name: str) -> Any:
        """The value of a parameter, now."""
        return self.get_parameter(name).value

    def now(self) -> float:
        """Seconds of the node's clock."""
        return read_clock(self.get_clock())

    def choose_stopwatch(self) -> Callable[[], float]:
        """What errands measure time by (s): simulated time where there is one."""
        return self.now if self.value("use_sim_time") else time.monotonic

    def employ(self) -> None:
        """Begin the thread that thinks."""
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="network")

    def settle_in(self, threads: int) -> None:
        """Give up priority, and limit the network's threads; in the thread that thinks."""
        import torch  # here, in the network's thread: it takes seconds

        # On Linux this counts for the calling thread and those that it starts: not for ROS.
        os.nice(self.value("niceness"))
        torch.set_num_threads(threads)

    def run(self, errand: Errand) -> Verdict:
        """Run an errand in the thread that thinks, and wait for its verdict."""
        return self._worker.submit(errand.run).result()

    def subscribe(
        self,
        kind: type,
        topic: str,
        take: Callable,
        quality: QoSProfile,
        group: CallbackGroup | None = None,
    ) -> None:
        """Subscribe until `release`; by default callbacks wait for none of another topic."""
        group = group or MutuallyExclusiveCallbackGroup()
        made = self.create_subscription(kind, topic, take, quality, callback_group=group)
        self._undo.append(partial(self.destroy_subscription, made))

    def serve(self, server: GoalServer, diagnostics: PlanDiagnostics) -> None:
        """Offer the action, and tell /diagnostics, until `release`."""
        self._server, self._diagnostics = server, diagnostics
        self._health = self.create_publisher(DiagnosticArray, "/diagnostics", 1)
        timer = self.create_timer(
            _DIAGNOSTICS_PERIOD, self._tell_health, MutuallyExclusiveCallbackGroup()
        )
        self._undo += [
            partial(self.destroy_publisher, self._health),
            server.destroy,
            partial(self.destroy_timer, timer),
        ]

    def activate(self) -> None:
        """Take instructions."""
        self._server.activate()

    def deactivate(self) -> None:
        """Take no instructions; the one that runs is ended first."""
        if not self._server.deactivate(_END_TIMEOUT):
            raise Dm0Error(f"the running instruction did not end within {_END_TIMEOUT:g} s")

    def release(self) -> None:
        """Close the topics and forget the policy."""
        if self._policy:
            self._policy.close()
        while self._undo:
            self._undo.pop()()
        if self._worker:
            self._worker.shutdown(wait=False, cancel_futures=True)
        self._worker = self._server = self._policy = None

    def _tell_health(self) -> None:
        stamp = self.get_clock().now().to_msg()
        message = self._diagnostics.report(stamp, self.ages(), self.state(), self.complaint())
        self._health.publish(message)
