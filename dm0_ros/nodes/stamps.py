# SPDX-License-Identifier: Apache-2.0
"""ROS times and durations to float seconds and back."""

from builtin_interfaces.msg import Duration, Time
from rclpy.clock import Clock

from dm0_ros.stamps import to_seconds

__all__ = ["read_clock", "to_duration", "to_seconds", "to_time"]

_NANOSECONDS = 1_000_000_000


def to_time(seconds: float) -> Time:
    """The message of a time in seconds."""
    return Time(**_split(seconds))


def to_duration(seconds: float) -> Duration:
    """The message of a duration in seconds."""
    return Duration(**_split(seconds))


def read_clock(clock: Clock) -> float:
    """Now, in seconds of a node's clock (simulated time where the node uses it)."""
    return clock.now().nanoseconds / _NANOSECONDS


def _split(seconds: float) -> dict[str, int]:
    sec, nanosec = divmod(round(seconds * _NANOSECONDS), _NANOSECONDS)
    return {"sec": sec, "nanosec": nanosec}
