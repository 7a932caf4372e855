# SPDX-License-Identifier: Apache-2.0
"""ROS times and durations to float seconds and back.

Seconds since 1970 in a float64 resolve 0.24 microseconds, far below any period used here.
"""

from builtin_interfaces.msg import Duration, Time
from rclpy.clock import Clock

_NANOSECONDS = 1_000_000_000


def to_seconds(stamp: Time | Duration) -> float:
    """Seconds of a message's time or duration."""
    return stamp.sec + stamp.nanosec / _NANOSECONDS


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
