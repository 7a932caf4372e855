# SPDX-License-Identifier: Apache-2.0
"""Whether another node's lifecycle has come to `active`, asked again and again."""

from lifecycle_msgs.srv import GetState
from rclpy.node import Node
from rclpy.task import Future


class Readiness:
    """Of one lifecycle node, by its relative name."""

    def __init__(self, node: Node, name: str) -> None:
        self._name = name
        self._client = node.create_client(GetState, f"{name}/get_state")
        self._asked: Future | None = None
        self._state = "unreachable"

    def complaint(self) -> str:
        """Why it is not ready, as of the last answer, or ''; asks again."""
        if not self._client.service_is_ready():
            return f"{self._name} is not there"
        if self._asked is None:
            self._asked = self._client.call_async(GetState.Request())
        elif self._asked.done():
            self._state = self._asked.result().current_state.label
            self._asked = None
        return "" if self._state == "active" else f"{self._name} is {self._state}"
