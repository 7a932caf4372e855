# SPDX-License-Identifier: Apache-2.0
"""Times in messages, whatever read them: a graph or a bag."""

from typing import Any


def to_seconds(stamp: Any) -> float:
    """Seconds of anything with the fields of builtin_interfaces/Time or Duration.

    Seconds since 1970 in a float64 resolve 0.24 microseconds, far below any period used here.
    """
    return stamp.sec + stamp.nanosec / 1e9
