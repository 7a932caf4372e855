# SPDX-License-Identifier: Apache-2.0
"""What every policy is to the rest of the package: an observation in, a plan out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from dm0_ros.policy.reasoning import Thought
from dm0_ros.robots.spec import Space

_PERIOD = 0.2  # s between two plans of policies whose authors do not say


@dataclass(frozen=True)
class PolicySpec:
    """What a policy needs and gives: enough to feed it without knowing which one it is."""

    name: str  # which checkpoint; goes into every plan
    camera_slots: tuple[str, ...]  # views it wants, by name
    state_names: tuple[str, ...]  # columns of the state vector
    action_names: tuple[str, ...]  # columns of a plan
    space: Space
    horizon: int  # H, rows of a plan
    step: float  # s between rows
    needs_prefix: bool = False  # whether infer() wants the rows already committed
    executed_rows: int | None = None  # of a plan, that its authors executed before the next one

    @property
    def period(self) -> float:
        """Least time between two plans, s: that after which the authors looked again.

        Half a chunk at most. Authors who executed all of it let the arm rest while they thought;
        with half of it left, the next plan is there before this one ends.
        """
        if not self.executed_rows:
            return _PERIOD
        return min(self.executed_rows, self.horizon // 2) * self.step


@dataclass(frozen=True)
class Observation:
    """One moment as the policy sees it."""

    pictures: Mapping[str, np.ndarray]  # slot -> (height, width, 3) uint8 RGB
    state: np.ndarray  # (S,) in PolicySpec.state_names, SI and radians
    instruction: str
    stamp: float  # s: stamp of the newest picture
    # s, by slot: of the picture itself, where that is known
    stamps: Mapping[str, float] = field(default_factory=dict)
    # s, by joint: of the measurement that the state was made of, where that is known
    joint_stamps: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Prefix:
    """What is left of the plan under way, for policies whose plans continue it."""

    rows: (
        np.ndarray
    )  # (n, D) absolute, in PolicySpec.action_names; row 0 is due at the observation
    delay: int  # rows that will be executed before the new plan can take over
    executed: int  # rows of each plan that are executed before the next one


@dataclass(frozen=True)
class Latency:
    """Wall time of one inference by stage, in ms."""

    preprocessing: float
    prefix: float  # vision and text
    reasoning: float
    flow: float

    @property
    def total(self) -> float:
        """Sum of the stages, ms."""
        return self.preprocessing + self.prefix + self.reasoning + self.flow


@dataclass(frozen=True)
class Plan:
    """A chunk of set-points with time in it. Row k is due at ``start + k * step``."""

    start: float  # s, same clock as Observation.stamp
    step: float  # s
    space: Space
    names: tuple[str, ...]  # one per column
    values: np.ndarray  # (H, D) float64, absolute, SI and radians
    progress: float  # of the task, in [0, 1]; NaN where not predicted
    latency: Latency
    # What the actions saw; also one that was written for this plan and refused.
    thought: Thought | None = None


def always() -> bool:
    """Who has no reason to give up a plan half-way asks for it so."""
    return True


class Policy(Protocol):
    """A policy. Not thread-safe: one caller at a time."""

    spec: PolicySpec

    def reset(self) -> None:
        """Forget everything about the running task."""

    def warm_up(self) -> Latency:
        """One inference on made-up data, so that the first real one is as fast as the rest."""

    def check_instruction(self, instruction: str) -> None:
        """Raise `InstructionError` where the instruction is empty or too long."""

    def infer(
        self,
        observation: Observation,
        prefix: Prefix | None = None,
        wanted: Callable[[], bool] = always,
    ) -> Plan:
        """Plan for one observation, which continues ``prefix`` if the policy can.

        ``wanted`` says whether the plan is still of use; once it is not, what comes first, such as
        a text, is cut short, and the plan is worth nothing.
        Raises `ObservationError` or `InstructionError` where the observation is unusable.
        """

    def skip(self) -> None:
        """Go on as if a plan had been made, so that the next one is as it would be after it."""

    def close(self) -> None:
        """End what works beside the plans. No plan is made afterwards."""
