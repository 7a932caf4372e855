# SPDX-License-Identifier: Apache-2.0
"""How well successive plans agree where they overlap, and how smooth commands would have been."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from dm0_ros.control import SetPoint
from dm0_ros.evaluation.episodes import Episodes
from dm0_ros.policy.protocol import Plan
from dm0_ros.robots.spec import RobotSpec

MOTIONS = ("velocity", "acceleration", "jerk")  # rad/s, rad/s2, rad/s3


class Overlap:
    """Compares each plan with the one before it in the same episode."""

    def __init__(self, subtract: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
        """``subtract`` rows (H, D) from others."""
        self._subtract = subtract
        self._last: tuple[int, Plan] | None = None

    def compare(self, episode: int, plan: Plan) -> np.ndarray:
        """(D,) mean distance over the rows for which both plan; NaN where that is none.

        The earlier plan is interpolated at the times of the later one's rows.
        """
        last, self._last = self._last, (episode, plan)
        columns = plan.values.shape[1]
        if last is None or last[0] != episode:
            return np.full(columns, np.nan)
        earlier = last[1]
        known = earlier.start + np.arange(len(earlier.values)) * earlier.step
        times = plan.start + np.arange(len(plan.values)) * plan.step
        both = (times >= known[0]) & (times <= known[-1])
        if not both.any():
            return np.full(columns, np.nan)
        there = np.stack(
            [np.interp(times[both], known, column) for column in earlier.values.T], axis=1
        )
        return np.abs(self._subtract(plan.values[both], there)).mean(axis=0)


@dataclass
class Sums:
    """Of what an episode's rehearsed commands did, by motion and joint."""

    ticks: np.ndarray  # (3, J)
    squares: np.ndarray
    greatest: np.ndarray
    last: SetPoint | None = field(default=None, repr=False)


class Motion:
    """Is shown every rehearsed set-point: velocity, acceleration and jerk of arm joints.

    Jerk is the change of acceleration from tick to tick.
    """

    def __init__(self, robot: RobotSpec, episodes: Episodes) -> None:
        self.joints: Sequence[str] = robot.joint_names
        self._places = [robot.column_names.index(name) for name in self.joints]
        self._episodes = episodes
        self._longest = 2.5 / robot.executor.rate  # s between two ticks that follow each other
        self.sums: dict[int, Sums] = {}  # by number of episode

    def see(self, point: SetPoint) -> None:
        """The next set-point; those between episodes are not looked at."""
        episode = self._episodes.at(point.time)
        if episode is None:
            return
        if episode not in self.sums:
            shape = len(MOTIONS), len(self.joints)
            self.sums[episode] = Sums(np.zeros(shape), np.zeros(shape), np.zeros(shape))
        sums = self.sums[episode]
        last, sums.last = sums.last, point
        jerk = np.full(len(point.positions), np.nan)
        if last is not None and 0 < point.time - last.time <= self._longest:
            jerk = (point.accelerations - last.accelerations) / (point.time - last.time)
        values = np.abs([point.velocities, point.accelerations, jerk])[:, self._places]
        known = np.isfinite(values)
        values = np.where(known, values, 0.0)
        sums.ticks += known
        sums.squares += values**2
        sums.greatest = np.maximum(sums.greatest, values)

    def describe(self, episode: int) -> dict | None:
        """For JSON, by motion: ticks, sums of squares and greatest values, by joint."""
        sums = self.sums.get(episode)
        if sums is None:
            return None
        return {
            motion: {
                "ticks": sums.ticks[row].tolist(),
                "squares": sums.squares[row].tolist(),
                "greatest": sums.greatest[row].tolist(),
            }
            for row, motion in enumerate(MOTIONS)
        }
