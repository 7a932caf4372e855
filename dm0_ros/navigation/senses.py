# SPDX-License-Identifier: Apache-2.0
"""The newest picture, and where the base was when it was taken; or why there is none."""

import threading
from collections import deque
from collections.abc import Callable

import numpy as np

from dm0_ros.errors import ObservationError
from dm0_ros.navigation.controller import Fix
from dm0_ros.navigation.mission import Sight

_MEMORY = 2.0  # s of odometry that are kept


class Senses:
    """Any thread may add; stamps are seconds of one clock.

    Pictures come as functions that decode them: those that are never looked at cost nothing.
    """

    def __init__(self, odometry_age: float, picture_age: float | None) -> None:
        """Greatest ages, s; ``picture_age`` is None where nobody looks at pictures."""
        self._odometry_age, self._picture_age = odometry_age, picture_age
        self._lock = threading.Lock()
        self._fixes: deque[Fix] = deque()
        self._picture: tuple[float, Callable[[], np.ndarray]] | None = None

    def add_fix(self, fix: Fix) -> None:
        """An odometry reading."""
        with self._lock:
            self._fixes.append(fix)
            while fix.stamp - self._fixes[0].stamp > _MEMORY:
                self._fixes.popleft()

    def add_picture(self, stamp: float, decode: Callable[[], np.ndarray]) -> None:
        """A picture, (height, width, 3) uint8 RGB once decoded."""
        with self._lock:
            self._picture = (stamp, decode)

    def look(self, now: float) -> Sight:
        """The newest picture with the odometry nearest in time; without pictures, the odometry.

        Raises `ObservationError` that says what is missing, or how old it is.
        """
        with self._lock:
            fixes, picture = list(self._fixes), self._picture
        if not fixes:
            raise ObservationError("no odometry yet; check that the base publishes odom")
        _check_age("odometry", now - fixes[-1].stamp, self._odometry_age)
        if self._picture_age is None:
            return Sight(None, fixes[-1])
        if picture is None:
            raise ObservationError("no picture yet; check that the camera publishes")
        stamp, decode = picture
        _check_age("picture", now - stamp, self._picture_age)
        nearest = min(reversed(fixes), key=lambda fix: abs(fix.stamp - stamp))
        return Sight(decode(), Fix(nearest.pose, stamp))


def _check_age(what: str, age: float, limit: float) -> None:
    if age > limit:
        raise ObservationError(
            f"the newest {what} is {age:.2f} s old, more than {limit:g} s; check what publishes it"
        )
