# SPDX-License-Identifier: Apache-2.0
"""One bag replayed from its beginning to its end, and what came of it, as plain figures."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dm0_ros.engine import EngineOptions
from dm0_ros.errors import Dm0Error
from dm0_ros.model.guidance import Guidance
from dm0_ros.policy.marks import Mark
from dm0_ros.policy.protocol import Policy
from dm0_ros.policy.reasoning import Memory, ReasoningMode, ReasoningOptions
from dm0_ros.policy.registry import find_checkpoint, load_policy
from dm0_ros.policy.trace import Facts, digest_checkpoint, digest_robot, find_commit, find_version
from dm0_ros.policy.wire import as_published
from dm0_ros.replay.faults import Watchman
from dm0_ros.replay.lateness import Lateness
from dm0_ros.replay.layout import Layout, find_layout
from dm0_ros.replay.rehearsal import Rehearsal, summarise
from dm0_ros.replay.texts import TextCheck
from dm0_ros.replay.walk import Options, Step, Walk
from dm0_ros.robots.loading import as_simulated, load_robot
from dm0_ros.robots.spec import RobotSpec
from dm0_ros.scaffold.levels import Level


@dataclass(frozen=True)
class Wishes:
    """What may be chosen instead of what was recorded; empty or None: as recorded."""

    robot: str = ""
    checkpoint: str = ""
    namespace: str = ""
    device: str = "cpu"
    seed: int | None = None
    lateness: Lateness | None = None  # None: no executor is rehearsed
    begin: float | None = None  # s after the beginning of the bag
    end: float | None = None
    period: float | None = None  # s, of an own schedule
    instruction: str = ""


@dataclass
class Subject:
    """A bag, and the policy that it is replayed through; for as many replays as are wanted."""

    layout: Layout
    facts: Facts | None
    robot: RobotSpec
    policy: Policy
    memory: Memory
    differences: list[str] = field(default_factory=list)  # from what was recorded


def prepare(path: Path, wishes: Wishes, load: Callable[..., Policy] = load_policy) -> Subject:
    """Load robot and checkpoint as they were, but for what is wished otherwise.

    ``load`` stands for `load_policy`, where what it loads may be there already. Raises `Dm0Error`
    where the bag does not say what nobody chose.
    """
    layout = find_layout(path, wishes.namespace)
    facts = layout.read_facts()
    robot = _load_robot(path, facts, wishes)
    checkpoint = _choose(path, "checkpoint", wishes.checkpoint, facts and facts.checkpoint)
    settings = find_checkpoint(checkpoint, robot.name).load_settings()
    reasons, memory = settings.scaffold is not None, Memory()
    policy = load(
        checkpoint,
        robot,
        device=wishes.device,
        seed=_choose_seed(facts, wishes),
        dtype=facts.dtype or None if facts else None,
        options=EngineOptions(guidance=Guidance(facts.guidance if facts else "none")),
        reasoning=_read_reasoning(facts, memory, reasons),
    )
    policy.warm_up()
    differences = [
        *_compare(facts, checkpoint, robot, wishes),
        *_compare_reasoning(facts, checkpoint, reasons),
        *(f"the bag lacks something: {sentence}" for sentence in layout.contents.missing),
    ]
    return Subject(layout, facts, robot, policy, memory, differences)


def _load_robot(path: Path, facts: Facts | None, wishes: Wishes) -> RobotSpec:
    robot = load_robot(_choose(path, "robot", wishes.robot, facts and facts.robot))
    return as_simulated(robot) if facts and facts.simulated else robot


def _choose(path: Path, name: str, wish: str, recorded: str | None) -> str:
    if not (wish or recorded):
        raise Dm0Error(
            f"{path}: does not say which {name} it was recorded with (it has no policy_facts): "
            f"give one with --{name}"
        )
    return wish or recorded


def _choose_seed(facts: Facts | None, wishes: Wishes) -> int:
    if wishes.seed is not None:
        return wishes.seed
    return facts.seed if facts else 0


def _read_reasoning(facts: Facts | None, memory: Memory, able: bool) -> ReasoningOptions:
    """The recorded mode, where the checkpoint is ``able`` to reason; texts that a thread wrote
    are taken from the record."""
    if facts is None or not able:
        return ReasoningOptions()
    level = Level(facts.reasoning_level) if facts.reasoning_level else None
    return ReasoningOptions(
        mode=ReasoningMode(facts.reasoning),
        level=level,
        temperature=facts.temperature,
        memory=memory,
    )


def _compare(facts: Facts | None, checkpoint: str, robot: RobotSpec, wishes: Wishes):
    """Sentences about what is not as it was."""
    if facts is None:
        yield "the bag does not say by what its plans were made (it has no policy_facts)"
        return
    found = find_checkpoint(checkpoint, robot.name)
    if (now := digest_checkpoint(found.folder)) != facts.checkpoint_digest:
        then = facts.checkpoint_digest
        yield (
            f"another checkpoint: {facts.checkpoint} ({then[:12]}) was recorded, this is "
            f"{checkpoint} ({now[:12]})"
        )
    if digest_robot(robot) != facts.robot_digest:
        yield f"another robot: {facts.robot} was recorded; its YAML differs, or it is {robot.name}"
    pairs = [("version", facts.version, find_version()), ("commit", facts.commit, find_commit())]
    pairs.append(("device", facts.device, wishes.device))
    pairs.append(("seed", facts.seed, _choose_seed(facts, wishes)))
    for name, then, now in pairs:
        if then != now:
            said = ["unknown" if value == "" else value for value in (then, now)]
            yield f"another {name}: {said[0]} was recorded, now it is {said[1]}"
    for name in ("compiled", "fp8"):
        if getattr(facts, name):
            yield f"the network was {name} when it was recorded; it is not in a replay"


def _compare_reasoning(facts: Facts | None, checkpoint: str, able: bool):
    recorded = ReasoningMode.OFF if facts is None else ReasoningMode(facts.reasoning)
    if recorded is not ReasoningMode.OFF and not able:
        yield f"the policy reasoned ({recorded.value}) when it was recorded; {checkpoint} cannot"


class Tally:
    """Sums up steps."""

    def __init__(self, begin: float) -> None:
        self._begin = begin
        self.plans = 0  # that were made
        self.recorded = 0  # of them, those that can be compared
        self.greatest, self._total = math.nan, 0.0
        self.worst: Step | None = None
        self.identical = self.traced = 0
        self.faults: dict[str, int] = {}

    def add(self, step: Step) -> None:
        """One more. Raises `Dm0Error` where its two plans are not of the same columns and rows."""
        if step.fault:
            self.faults[step.fault] = self.faults.get(step.fault, 0) + 1
        if step.identical is not None:
            self.traced += 1
            self.identical += step.identical
        if step.plan is None:
            return
        self.plans += 1
        if step.recorded is None:
            return
        _check_columns(step)
        self.recorded += 1
        self._total += step.difference
        if not step.difference <= self.greatest:
            self.greatest, self.worst = step.difference, step

    def summarise(self) -> dict:
        """For JSON."""
        worst = None
        if self.worst is not None:
            recorded = self.worst.recorded
            worst = {
                "sequence": recorded.sequence,
                "instruction": recorded.instruction,
                "seconds": recorded.received - self._begin,
                "difference": self.worst.difference,
                "identical_observation": self.worst.identical,
            }
        return {
            "plans": self.plans,
            "compared": self.recorded,
            "max_abs_difference": self.greatest if self.recorded else None,
            "mean_max_difference": self._total / self.recorded if self.recorded else None,
            "identical_observations": self.identical if self.traced else None,
            "not_replayed": self.faults,
            "worst": worst,
        }


def _check_columns(step: Step) -> None:
    (names, values), live = as_published(step.plan), step.recorded.plan
    if names != live.names:
        raise Dm0Error(
            f"the recorded plans have the columns {', '.join(live.names)}, those of the replay "
            f"{', '.join(names)}; choose a checkpoint of the same layout"
        )
    if values.shape != live.values.shape or step.plan.step != live.step:
        raise Dm0Error(
            f"the recorded plans have {len(live.values)} rows of {live.step:g} s, those of the "
            f"replay {len(values)} of {step.plan.step:g} s; choose a checkpoint of the same chunk"
        )


def make_options(subject: Subject, wishes: Wishes, marks: Sequence[Mark] = ()) -> Options:
    """What a walk through the subject's bag is to do; ``marks`` as in `Options`."""
    begin = subject.layout.contents.begin
    limits = [None if s is None else begin + s for s in (wishes.begin, wishes.end)]
    return Options(*limits, wishes.period, wishes.instruction, subject.memory, marks)


def replay(
    subject: Subject,
    wishes: Wishes,
    watch: Callable[[Step, Watchman], None] = lambda _step, _watchman: None,
) -> dict:
    """Replay a bag once; returns the figures that `dm0 replay` writes as JSON."""
    layout, begin = subject.layout, subject.layout.contents.begin
    rehearsal = None
    if wishes.lateness is not None:
        rehearsal = Rehearsal(subject.robot, wishes.lateness)
    walk = Walk(layout, subject.policy, subject.robot, make_options(subject, wishes), rehearsal)
    tally, texts, started = Tally(begin), TextCheck(), time.perf_counter()
    for step in walk:
        tally.add(step)
        texts.add(step)
        if rehearsal is not None:
            rehearsal.show(step)
        watch(step, walk.watchman)
    if rehearsal is not None:
        rehearsal.finish()
    took, watchman = time.perf_counter() - started, walk.watchman
    if watchman.begin is None:
        raise Dm0Error(f"{layout.path}: no message in the part that is to be replayed")
    seconds = watchman.end - watchman.begin
    return {
        "bag": str(layout.path),
        "checkpoint": subject.policy.spec.name,
        **tally.summarise(),
        "plans_to_stay": walk.still,
        "traced": walk.traced,
        "seconds": seconds,
        "real_time_factor": seconds / took,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "differences": [*subject.differences, *texts.tell()],
        "oddities": watchman.summarise(begin),
        "executor": None if rehearsal is None else summarise(rehearsal),
    }
