# SPDX-License-Identifier: Apache-2.0
"""Goals to an action server: the newest counts, and what becomes of it is known."""

import importlib
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.task import Future

from dm0_ros.errors import RobotError
from dm0_ros.robots.spec import Sink

_PACKAGE = "control_msgs"
_PATIENCE = 1.0  # s: an answer to a goal takes milliseconds


def find_action(name: str, sink: Sink) -> type:
    """The action ``control_msgs/action/<name>``.

    The package is imported only here, because not every machine has it. Raises `RobotError` that
    says what to install.
    """
    needs = f"sink {sink.topic}: {sink.kind.value} needs {_PACKAGE}/action/{name}"
    try:
        actions = importlib.import_module(f"{_PACKAGE}.action")
    except ModuleNotFoundError as cause:
        raise RobotError(
            f"{needs}, and {_PACKAGE} is not installed; install ros-jazzy-control-msgs with apt "
            "(there is no wheel of it), or choose a sink that takes a topic"
        ) from cause
    if not hasattr(actions, name):
        raise RobotError(f"{needs}, which this {_PACKAGE} does not have; update it")
    return getattr(actions, name)


class Goals:
    """Sends goals from the node's thread, whatever thread offers them.

    rclpy's client is not made for two threads: an answer could come before it knows its question.
    """

    def __init__(self, node: Node, kind: type, name: str, tell: Callable[[str], None]) -> None:
        """``tell(sentence)`` is called when goals begin to fail, in the node's thread."""
        self._node = node
        self._name = name
        self._tell = tell
        self._client = ActionClient(node, kind, name)
        self._waker = node.create_guard_condition(self._send)
        self._offered: deque = deque(maxlen=1)
        self._count = 0  # goals sent
        self._unanswered_since: float | None = None
        self._failure = ""

    @property
    def failed(self) -> bool:
        """Whether the last goal did not arrive, or was refused."""
        return bool(self._failure)

    def offer(self, goal) -> None:
        """Send a goal as soon as the node's thread is free, unless a newer one is offered."""
        self._offered.append(goal)
        self._waker.trigger()

    def complaint(self) -> str:
        """Why goals do not arrive, or ''."""
        if not self._client.server_is_ready():
            return f"no action server {self._name}; start its controller"
        if self._overdue():
            return f"action server {self._name} does not answer"
        return self._failure

    def forget(self) -> None:
        """Begin anew: no goal has failed."""
        self._offered.clear()
        self._unanswered_since, self._failure = None, ""

    def close(self) -> None:
        """Give back the client."""
        self._node.destroy_guard_condition(self._waker)
        self._client.destroy()

    def _overdue(self) -> bool:
        since = self._unanswered_since
        return since is not None and time.monotonic() - since > _PATIENCE

    def _send(self) -> None:
        if not self._offered:
            return
        goal = self._offered.pop()
        before, self._failure = self._failure, ""
        if complaint := self.complaint():
            self._unanswered_since = None  # the next goal is a new question
            self._fail(complaint, before)
            return
        self._count += 1
        if self._unanswered_since is None:
            self._unanswered_since = time.monotonic()
        answer = self._client.send_goal_async(goal)
        answer.add_done_callback(partial(self._take_answer, self._count, before))

    def _take_answer(self, count: int, before: str, answer: Future) -> None:
        self._unanswered_since = None
        handle = answer.result()
        if not handle.accepted:
            self._fail(f"action server {self._name} refuses a goal; see its log", before)
            return
        handle.get_result_async().add_done_callback(partial(self._take_result, count))

    def _take_result(self, count: int, result: Future) -> None:
        # an older goal ends because a newer one took its place
        if count != self._count or result.result().status != GoalStatus.STATUS_ABORTED:
            return
        why = getattr(result.result().result, "error_string", "") or "it does not say why"
        self._fail(f"action server {self._name} gave up: {why}", self._failure)

    def _fail(self, sentence: str, before: str) -> None:
        self._failure = sentence
        if sentence != before:
            self._tell(sentence)
