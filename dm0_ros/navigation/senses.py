# SPDX-License-Identifier: Apache-2.0
"""The newest picture, and where the base was when it was taken; or why there is none."""

import math
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
        fixes, picture = self._find(now)
        if picture is None:
            return Sight(None, fixes[-1])
        stamp, decode = picture
        nearest = min(reversed(fixes), key=lambda fix: abs(fix.stamp - stamp))
        return Sight(decode(), Fix(nearest.pose, stamp))

    def ages(self, now: float) -> dict[str, float]:
        """Seconds since the newest of each was stamped; infinite without one."""
        with self._lock:
            ages = {"odometry": now - self._fixes[-1].stamp if self._fixes else math.inf}
            if self._picture_age is not None:
                ages["picture"] = now - self._picture[0] if self._picture else math.inf
        return ages

    def complaint(self, now: float) -> str:
        """Why there is no sight, or ''."""
        try:
            self._find(now)
        except ObservationError as error:
            return str(error)
        return ""

    def _find(self, now: float) -> tuple[list[Fix], tuple[float, Callable] | None]:
        """Odometry, and a picture where somebody looks at them."""
        with self._lock:
            fixes, picture = list(self._fixes), self._picture
        if not fixes:
            raise ObservationError("no odometry yet; check that the base publishes odom")
        _check_age("odometry", now - fixes[-1].stamp, self._odometry_age)
        if self._picture_age is None:
            return fixes, None
        if picture is None:
            raise ObservationError("no picture yet; check that the camera publishes")
        _check_age("picture", now - picture[0], self._picture_age)
        return fixes, picture


def _check_age(what: str, age: float, limit: float) -> None:
    if age > limit:
        raise ObservationError(
            f"the newest {what} is {age:.2f} s old, more than {limit:g} s; check what publishes it"
        )
