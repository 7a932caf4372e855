# SPDX-License-Identifier: Apache-2.0
"""Motions of a base to its driver: the controller, ticked at a fixed rate, on cmd_vel."""

import threading

import numpy as np
from rclpy.node import Node

from dm0_ros.navigation.controller import BaseController, Fix, State
from dm0_ros.navigation.routes import Motion
from dm0_ros.nodes.bases import VelocityCommands
from dm0_ros.nodes.pacing import Pacer, SteadyClock
from dm0_ros.robots.spec import RobotSpec


class DirectOutput:
    """An `Output` that commands velocities itself; any thread may call it.

    At rest it sends zero once and then nothing, so that a person can drive the base.
    """

    def __init__(self, node: Node, robot: RobotSpec) -> None:
        self._controller = BaseController(robot.base, robot.executor.state_timeout)
        self._commands = VelocityCommands(node, robot.base)
        self._clock = SteadyClock(node.get_clock())
        self._lock = threading.Lock()
        self._resting = True
        self._node = node
        self._pacer = Pacer(robot.executor.rate, self._tick, self._break_down)
        self._pacer.start()

    def note(self, fix: Fix) -> None:
        """The newest odometry."""
        with self._lock:
            self._controller.note(fix)

    def drive(self, motion: Motion, origin: Fix) -> None:
        """See `Output`."""
        with self._lock:
            self._controller.drive(motion, origin)

    def stop(self, reason: str) -> None:
        """See `Output`."""
        with self._lock:
            self._controller.stop(reason)

    def status(self) -> tuple[State, str]:
        """See `Output`."""
        with self._lock:
            return self._controller.state, self._controller.reason

    def close(self) -> None:
        """Stop at once, and give back the publisher."""
        self._pacer.stop()
        if not self._resting:
            self._commands.publish(np.zeros(3), self._clock.now())
        self._commands.close()

    def _tick(self, deadline: float) -> None:
        now = self._clock.at(deadline)
        with self._lock:
            velocities = self._controller.tick(now)
            driving = self._controller.state is State.DRIVING
        rests = not driving and not np.any(velocities)
        if not (rests and self._resting):
            self._commands.publish(velocities, now)
        self._resting = rests

    def _break_down(self, error: Exception) -> None:
        self._node.get_logger().fatal(f"the thread that drives ended: {error!r}")
        with self._lock:
            self._controller.stop(f"a defect: {error!r}")
