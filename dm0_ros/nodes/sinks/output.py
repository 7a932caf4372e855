# SPDX-License-Identifier: Apache-2.0
"""What every kind of output has in common."""

from collections.abc import Callable, Sequence
from typing import Protocol

from rclpy.publisher import Publisher

from dm0_ros.control import SetPoint

# Gives the next `count` set-points at `spacing` seconds, and one at rest: Executor.preview.
Preview = Callable[[float, int], Sequence[SetPoint]]


class Output(Protocol):
    """Something that set-points go to.

    `publish` and `rest` are called in the thread of the rate, the others in the node's.
    """

    vital: bool  # no arm may move while it complains

    def publish(self, point: SetPoint, preview: Preview) -> None:
        """Send what is due, if anything is."""

    def rest(self) -> None:
        """From now on nothing is commanded, until the next `publish`."""

    def complaint(self) -> str:
        """Why commands do not arrive, or ''."""

    def close(self) -> None:
        """Give back publishers and clients."""


def find_listener(publisher: Publisher) -> str:
    """The complaint of an output that publishes to a topic."""
    if publisher.get_subscription_count():
        return ""
    return f"no controller listens to {publisher.topic_name}; start it"
