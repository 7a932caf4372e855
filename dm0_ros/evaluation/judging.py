# SPDX-License-Identifier: Apache-2.0
"""Each plan of a replay against what was recorded, once all of its rows are due."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dm0_ros.evaluation.actions import Actions
from dm0_ros.evaluation.episodes import Episodes
from dm0_ros.evaluation.grippers import Switch, find_switches, match_switches
from dm0_ros.evaluation.poses import Poses
from dm0_ros.evaluation.scaffolds import Likeness, Scaffolds
from dm0_ros.evaluation.seams import Overlap
from dm0_ros.policy.proprioception import Proprioception
from dm0_ros.policy.protocol import Plan, PolicySpec
from dm0_ros.policy.wire import as_published
from dm0_ros.replay.bag import RawMessage
from dm0_ros.replay.plans import RecordedPlan
from dm0_ros.replay.walk import Step
from dm0_ros.robots.layouts import BASE_COLUMNS
from dm0_ros.robots.poses import find_angles
from dm0_ros.robots.spec import RobotSpec, Space

_LATE = 0.5  # s behind its last row for which a plan waits for commands that come late


@dataclass(frozen=True, eq=False)
class Judged:
    """A plan with all that the recording says of the times for which it plans.

    H rows, D columns of the policy, A end effectors. Unknown numbers are NaN; so are the errors
    of rows that are due after the end of the episode.
    """

    step: Step  # with its observation, so that pictures can be shown
    episode: int  # number in `Episodes.found`
    times: np.ndarray  # (H,) s of the graph's clock: when rows are due
    actions: np.ndarray  # (H, D) what the robot was commanded or did at these times
    errors: np.ndarray  # (H, D) of the plan from those, rad or m; angles the short way
    plan_errors: np.ndarray  # (H, D) from the recorded plan's row of the same number
    pose_errors: np.ndarray  # (H, A, 2) of the end effectors from where they were: mm, degrees
    score: float  # mean normalised error, by which moments are ranked; NaN where unknown
    overlap: np.ndarray  # (D,) mean distance from the plan before it, over the rows of both
    switches: tuple[Switch, ...]  # of grippers, within the rows that can be compared
    likeness: Likeness  # of the text that the plan's actions saw


class Judge:
    """A `Listener` of a walk; show it every step, too. Gives plans back once they are due."""

    def __init__(
        self,
        spec: PolicySpec,
        robot: RobotSpec,
        actions: Actions,
        episodes: Episodes,
        ranges: np.ndarray,
        scaffolds: Scaffolds,
    ) -> None:
        """``ranges`` (D,) of the columns, by which errors are normalised; NaN where unknown."""
        self._spec, self._actions, self._episodes = spec, actions, episodes
        self._ranges, self._scaffolds = ranges, scaffolds
        self._overlap = Overlap(self._subtract)
        self.grippers = [g for g in robot.grippers if g.name in spec.action_names]
        self._columns = [name for name in spec.action_names if name not in BASE_COLUMNS]
        self._places = [spec.action_names.index(name) for name in self._columns]
        self._body = Proprioception(self._columns, robot)
        self.poses = Poses(spec, robot)
        self._angles = find_angles(spec.action_names) & (spec.space is Space.EEF_POSE)
        self._waiting: deque[tuple[Step, int]] = deque()
        self.first: float | None = None  # s of the graph's clock: when the first message came
        self.now = -math.inf

    def hear(self, topic: str, message: RawMessage, now: float) -> None:
        """See `Listener`."""
        self.now = max(self.now, now)
        if self.first is None and math.isfinite(now):
            self.first = now  # with simulated time, none is known at first
        self._actions.hear(topic, message, now)

    def plan(self, recorded: RecordedPlan) -> None:
        """See `Listener`."""
        self._episodes.hear(recorded)

    def show(self, step: Step) -> int:
        """A step of the walk; returns the number of its episode."""
        episode = self._episodes.place(step)
        if step.plan is not None:
            self._waiting.append((step, episode))
        return episode

    def judge(self, finished: bool = False) -> Iterator[Judged]:
        """Those plans whose rows are all due, or all that are left."""
        while self._waiting:
            plan = self._waiting[0][0].plan
            due = plan.start + (len(plan.values) - 1) * plan.step
            if not finished and due + _LATE > self.now:
                return
            yield self._judge(*self._waiting.popleft())

    def _judge(self, step: Step, episode: int) -> Judged:
        plan = step.plan
        times = plan.start + np.arange(len(plan.values)) * plan.step
        known = times <= min(self._episodes.end(episode, self.now), self.now)
        names = self._joints()
        began = self._episodes.found[episode].begin
        joints = self._actions.sample(names, times, began)
        joints[~known] = np.nan
        actions = self._arrange(names, joints)
        errors = self._subtract(plan.values, actions)
        return Judged(
            step=step,
            episode=episode,
            times=times,
            actions=actions,
            errors=errors,
            plan_errors=self._compare(step),
            pose_errors=self.poses.compare(plan.values, dict(zip(names, joints.T, strict=True))),
            score=_mean(np.abs(errors) / self._ranges),
            overlap=self._overlap.compare(episode, plan),
            switches=tuple(self._find_switches(plan, times[known], began)),
            likeness=self._scaffolds.compare(plan),
        )

    def _find_switches(self, plan: Plan, times: np.ndarray, began: float) -> Iterator[Switch]:
        """Of all grippers, while rows can be compared; the episode ``began`` then."""
        if len(times) < 2:
            return
        begin, end = times[0], times[-1]
        for number, gripper in enumerate(self.grippers):
            known, values = self._actions.watch(gripper.name, begin, end)
            known, values = known[known >= began], values[known >= began]
            openings = plan.values[: len(times), plan.names.index(gripper.name)]
            recorded = [
                switch
                for switch in find_switches(gripper, known, values)
                if begin <= switch[0] <= end
            ]
            planned = find_switches(gripper, times, openings)
            yield from match_switches(number, recorded, planned, begin, end)

    def _joints(self) -> list[str]:
        """Joints and grippers that columns or poses are made of."""
        return list(dict.fromkeys([*self._body.measured, *self.poses.joints]))

    def _arrange(self, names: Sequence[str], joints: np.ndarray) -> np.ndarray:
        """Columns (H, D) of joints (H, J)."""
        rows = np.full((len(joints), len(self._spec.action_names)), np.nan)
        for row, values in zip(rows, joints, strict=True):
            if np.isfinite(values).all():
                row[self._places] = self._body.state(dict(zip(names, values, strict=True)))
            elif not self._angles.any():
                found = dict(zip(names, values, strict=True))
                row[self._places] = [found[name] for name in self._columns]
        return rows

    def _subtract(self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        errors = rows - others
        turned = (errors + math.pi) % math.tau - math.pi
        return np.where(self._angles, turned, errors)

    def _compare(self, step: Step) -> np.ndarray:
        """Errors (H, D) from the recorded plan, as far as that is one of the same kind."""
        plan, recorded = step.plan, step.recorded
        unknown = np.full(plan.values.shape, np.nan)
        if recorded is None or not comparable(step):
            return unknown
        if plan.space is not Space.EEF_POSE:
            return plan.values - recorded.plan.values
        return self._subtract(plan.values, self.poses.read_angles(recorded.plan))


def _mean(values: np.ndarray) -> float:
    """Of those that are known; NaN where none is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan


def comparable(step: Step) -> bool:
    """Whether a step's two plans have the same columns, rows and step."""
    names, values = as_published(step.plan)
    live = step.recorded.plan
    return (
        names == live.names and values.shape == live.values.shape and step.plan.step == live.step
    )
