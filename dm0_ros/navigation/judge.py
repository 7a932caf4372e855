# SPDX-License-Identifier: Apache-2.0
"""Someone who knows the house and where the base really is: ObjectNav's metrics of a drive.

For simulators. Nothing that drives may ask the judge.
"""

import numpy as np

from dm0_ros.navigation.house import House
from dm0_ros.navigation.metrics import Result
from dm0_ros.navigation.objectnav import ObjectNav, Rules


class Judge:
    """Follows the true pose of a base from the start of a drive to its end."""

    def __init__(self, house: House, rules: Rules | None = None) -> None:
        self._task = ObjectNav(house, rules)
        self._category: str | None = None

    def begin(self, instruction: str, pose: np.ndarray) -> bool:
        """A drive begins at ``pose`` (3,); whether it can be judged.

        It can where the instruction names one category, and a way leads there.
        """
        words = instruction.lower()
        named = [name for name in self._task.house.categories if name in words]
        self._category = named[0] if len(named) == 1 else None
        if self._category is None:
            return False
        self._place, self._travelled = np.array(pose[:2], float), 0.0
        self._start = self._distance()
        return bool(np.isfinite(self._start))

    def note(self, pose: np.ndarray) -> None:
        """The base is at ``pose`` (3,) now."""
        if self._category is not None:
            place = np.array(pose[:2], float)
            self._travelled += float(np.linalg.norm(place - self._place))
            self._place = place

    def result(self, stopped: bool) -> Result:
        """How the drive ended; ``stopped``: the policy says that it is there."""
        return Result(
            category=self._category,
            stopped=stopped,
            start_distance=self._start,
            distance=self._distance(),
            travelled=self._travelled,
            steps=0,
            success_distance=self._task.rules.success_distance,
        )

    def _distance(self) -> float:
        return float(self._task.geodesics[self._category].distance(self._place)[0])
