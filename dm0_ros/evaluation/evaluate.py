# SPDX-License-Identifier: Apache-2.0
"""One bag through one policy, and the figures of that in a folder."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dm0_ros.errors import Dm0Error
from dm0_ros.evaluation.actions import Actions
from dm0_ros.evaluation.checks import check_bag, find_ranges
from dm0_ros.evaluation.episodes import Episodes
from dm0_ros.evaluation.judging import Judge, Judged
from dm0_ros.evaluation.moments import Moments
from dm0_ros.evaluation.result import bag_key, write_result
from dm0_ros.evaluation.scaffolds import Scaffolds
from dm0_ros.evaluation.seams import Motion
from dm0_ros.evaluation.sheet import Sheet
from dm0_ros.policy.marks import MARKS_TOPIC
from dm0_ros.policy.protocol import Policy
from dm0_ros.policy.registry import load_policy
from dm0_ros.replay.bag import RawMessage
from dm0_ros.replay.faults import Watchman
from dm0_ros.replay.layout import CLOCK, PLANS
from dm0_ros.replay.marks import read_marks, sort_marks
from dm0_ros.replay.plans import RecordedPlan
from dm0_ros.replay.rehearsal import Rehearsal
from dm0_ros.replay.rehearsal import summarise as summarise_rehearsal
from dm0_ros.replay.run import Subject, Wishes, make_options, prepare
from dm0_ros.replay.texts import TextCheck
from dm0_ros.replay.walk import Listener, Step, Walk

CHECKPOINT, AGAINST = "checkpoint", "against"

Tell = Callable[[float], None]


@dataclass(frozen=True)
class Setting:
    """How bags are replayed. ``key`` is CHECKPOINT, or AGAINST for what that is compared with."""

    key: str
    wishes: Wishes


class Witness(Protocol):
    """Is shown every plan with its errors, in order; holds what it wants to remember."""

    def see(self, judged: Judged) -> None:
        """A plan, its observation and its errors."""

    def finish(self, folder: Path, zero: float) -> list[dict]:
        """All were seen: write what is to be kept below ``folder``; returns JSON about it.

        ``zero`` is the bag's beginning by the graph's clock, s.
        """


def evaluate_bag(
    bag: Path,
    setting: Setting,
    folder: Path,
    tell: Tell = lambda _share: None,
    load: Callable[..., Policy] = load_policy,
) -> None:
    """Replay a bag and write its folder: plans.npz, moments/ and, last of all, result.json.

    ``tell`` is told what share of the bag (0 to 1) is done. The same bag, setting and machine give
    the same files but for times. Raises `Dm0Error` where the bag cannot be evaluated; what is
    wrong with names is found before anything is replayed.
    """
    check_bag(bag, setting.wishes)
    subject = prepare(bag, setting.wishes, load)
    try:
        _Evaluation(bag, setting, subject).run(folder, tell)
    finally:
        subject.policy.close()


class _Listeners:
    """Several of them in place of one."""

    def __init__(self, all_: Sequence[Listener]) -> None:
        self._all = all_

    def hear(self, topic: str, message: RawMessage, now: float) -> None:
        for one in self._all:
            one.hear(topic, message, now)

    def plan(self, recorded: RecordedPlan) -> None:
        for one in self._all:
            one.plan(recorded)


class _Evaluation:
    """One walk through a bag, and all who look at it."""

    def __init__(self, bag: Path, setting: Setting, subject: Subject) -> None:
        self._bag, self._setting, self._subject = bag, setting, subject
        layout, robot, spec = subject.layout, subject.robot, subject.policy.spec
        wishes = setting.wishes
        marks = read_marks(bag, layout.prefix) if layout.holds(MARKS_TOPIC) else []
        # Of a bag without plans, the marks say what was to be done.
        tasks = () if layout.holds(PLANS) or wishes.instruction else sort_marks(marks)
        self._episodes = Episodes(marks, wishes.period)
        self._actions = Actions(layout, robot)
        self._ranges = find_ranges(bag, subject, wishes)
        self._scaffolds = Scaffolds(layout, subject.facts)
        self._judge = Judge(
            spec, robot, self._actions, self._episodes, self._ranges, self._scaffolds
        )
        self._sheet, self._texts = Sheet(spec, self._judge.poses.arms), TextCheck()
        self._witness: Witness = Moments(bag, wishes, subject, self._ranges, self._episodes.found)
        self._rehearsal = self._motion = None
        if wishes.lateness is not None:
            self._motion = Motion(robot, self._episodes)
            self._rehearsal = Rehearsal(robot, wishes.lateness, self._motion.see)
        listeners = [one for one in (self._judge, self._rehearsal) if one is not None]
        options = make_options(subject, wishes, tasks)
        self._walk = Walk(layout, subject.policy, robot, options, _Listeners(listeners))

    def run(self, folder: Path, tell: Tell) -> None:
        """From its beginning to its end, and write what came of it."""
        started = time.perf_counter()
        for step in self._walk:
            self._show(step)
            tell(self._share(self._walk.watchman))
        if self._rehearsal is not None:
            self._rehearsal.finish()
        self._look(finished=True)
        watchman = self._walk.watchman
        if watchman.begin is None:
            raise Dm0Error(f"{self._bag}: no message in the part that is to be replayed")
        if not self._sheet.count:
            faults = "; ".join(self._sheet.faults) or "it has none of a network"
            raise Dm0Error(f"{self._bag}: no plan could be made: {faults}")
        took = time.perf_counter() - started
        content = self._describe(watchman, took)
        content["moments"] = self._witness.finish(folder, self._zero())
        write_result(folder, content, self._sheet.arrays(self._zero()))
        tell(1.0)

    def _show(self, step: Step) -> None:
        self._sheet.add(step, self._judge.show(step))
        self._texts.add(step)
        if self._rehearsal is not None:
            self._rehearsal.show(step)
        self._look()

    def _look(self, finished: bool = False) -> None:
        for judged in self._judge.judge(finished):
            self._sheet.judge(judged)
            self._witness.see(judged)

    def _share(self, watchman: Watchman) -> float:
        contents = self._subject.layout.contents
        length = contents.end - contents.begin
        return (watchman.end - contents.begin) / length if length > 0 else 1.0

    def _zero(self) -> float:
        """The beginning of the bag by the graph's clock, s."""
        contents = self._subject.layout.contents
        return self._judge.first if CLOCK in contents.topics else contents.begin

    def _describe(self, watchman: Watchman, took: float) -> dict:
        subject, spec, walk = self._subject, self._subject.policy.spec, self._walk
        seconds = watchman.end - watchman.begin
        return {
            "bag": str(self._bag),
            "key": bag_key(self._bag),
            "setting": self._setting.key,
            "checkpoint": spec.name,
            "robot": subject.robot.name,
            "begin": self._subject.layout.contents.begin,
            "seconds": seconds,
            "columns": list(spec.action_names),
            "space": spec.space.value,
            "horizon": spec.horizon,
            "step": spec.step,
            "ranges": [float(r) if r == r else None for r in self._ranges],
            "arms": list(self._judge.poses.arms),
            "grippers": [gripper.name for gripper in self._judge.grippers],
            "joints": list(subject.robot.joint_names),
            "actions": {name: self._actions.sources[name] for name in self._actions.sources},
            **self._sheet.describe(
                self._episodes.found, self._zero(), self._judge.now, self._motion
            ),
            "scaffold_source": self._scaffolds.source,
            "plans_to_stay": walk.still,
            "differences": [*subject.differences, *self._texts.tell()],
            "oddities": watchman.summarise(self._subject.layout.contents.begin),
            "executor": None if self._rehearsal is None else summarise_rehearsal(self._rehearsal),
            "timing": {
                "real_time_factor": seconds / took,
                "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            },
        }
