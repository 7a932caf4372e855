# SPDX-License-Identifier: Apache-2.0
"""A thread in which plans of poses become plans of joints.

That takes milliseconds, but near singularities and on busy machines many of them; joint states,
`~/stop` and the rate must not wait for it. What is found comes back in the node's own thread.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from rclpy.node import Node

from dm0_ros.control import Chunk
from dm0_ros.control.pose_solver import PoseSolver, Solution
from dm0_ros.errors import PlanError
from dm0_ros.robots import RobotSpec


class SolvingThread:
    """Solves one plan after the other. Of those that wait, only the newest is worth it."""

    def __init__(
        self,
        node: Node,
        robot: RobotSpec,
        outlook: Callable[[Chunk], tuple[np.ndarray, float]],
        follow: Callable[[Chunk], None],
        refuse: Callable[[PlanError], None],
    ) -> None:
        """``outlook(chunk)`` is called in the thread, just before a plan is solved, and gives what
        `PoseSolver.solve` asks for. In the node's thread ``follow`` is called with the plan of
        joints; ``refuse`` where there is none, or where ``follow`` raises `PlanError`.

        Raises `RobotError` where the robot's arms cannot be solved.
        """
        self._solver = PoseSolver(robot)
        self._outlook, self._follow, self._refuse = outlook, follow, refuse
        self._newest: Chunk | None = None
        self._found: deque[Future] = deque()
        self._node = node
        self._bell = node.create_guard_condition(self._deliver)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="poses")

    def submit(self, chunk: Chunk) -> None:
        """Solve a plan soon."""
        self._newest = chunk
        self._pool.submit(self._solve, chunk).add_done_callback(self._ring)

    def close(self) -> None:
        """Wait for the plan in work; nothing is delivered any more."""
        self._pool.shutdown(cancel_futures=True)
        self._node.destroy_guard_condition(self._bell)

    def _solve(self, chunk: Chunk) -> Solution:
        if chunk is not self._newest:
            raise PlanError(f"plan {chunk.sequence}: a newer one came before it was solved")
        present, passed = self._outlook(chunk)
        try:
            return self._solver.solve(chunk, present, passed)
        except PlanError as error:
            raise PlanError(f"plan {chunk.sequence}: {error}") from error

    def _ring(self, future: Future) -> None:
        if not future.cancelled():
            self._found.append(future)
            self._bell.trigger()

    def _deliver(self) -> None:
        while self._found:
            try:
                self._follow(self._found.popleft().result().chunk)
            except PlanError as error:
                self._refuse(error)
