# SPDX-License-Identifier: Apache-2.0
"""When a policy reasons in words, how far, and what it thought."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from dm0_ros.errors import CheckpointError, Dm0Error
from dm0_ros.scaffold.content import Scaffold
from dm0_ros.scaffold.levels import Level

if TYPE_CHECKING:
    from dm0_ros.policy.settings import PolicySettings


class ReasoningMode(str, Enum):
    """When text is written."""

    OFF = "off"  # never
    EVERY_PLAN = "every_plan"  # before each plan, which waits for it
    ASYNCHRONOUS = "asynchronous"  # beside the plans, which take the newest there is


@dataclass(frozen=True, eq=False)
class Thought:
    """What a network wrote about one observation. Without a scaffold it was refused."""

    text: str
    token_ids: tuple[int, ...]
    scaffold: Scaffold | None
    rejection: str  # why there is no scaffold; empty where there is one
    instruction: str
    stamp: float  # s: of the picture of `view`
    observed: float  # s: of the observation
    view: str  # camera slot whose picture box and paths are in
    width: int  # pixels of that picture
    height: int
    milliseconds: float  # that the text took
    decoded: np.ndarray | None = None
    """(H, C) absolute rows that the discrete actions say, SI and radians, row 0 due at `observed`;
    grippers as predicted. None where the text has no actions."""
    disagreement: float = math.nan
    """Between a plan that saw this and `decoded`: mean distance of rows and columns, normalised.
    NaN where there is nothing to compare."""

    @property
    def valid(self) -> bool:
        """Whether actions may see it."""
        return self.scaffold is not None


@dataclass
class Memory:
    """A text that actions are to see; whoever replays a recording puts it here."""

    token_ids: tuple[int, ...] | None = None  # None: actions see none


def ignore(_thought: Thought) -> None:
    """The listener of those who ask plans for their thoughts."""


@dataclass(frozen=True)
class ReasoningOptions:
    """What a user may choose. Raises `Dm0Error` where a number makes no sense."""

    mode: ReasoningMode = ReasoningMode.OFF
    level: Level | None = None  # the last one wanted; None: all that the checkpoint has
    period: float = 1.0  # s from the begin of one text to the next, asynchronous
    max_age: float = 5.0  # s: observations of a text and of a plan that takes it lie no further
    # s for one text, without waiting. Where it strikes depends on the machine and its load.
    seconds: float = math.inf
    temperature: float = 0.0  # that tokens are drawn at; 0: the likeliest
    listen: Callable[[Thought], None] = ignore  # told every thought, in the thread that had it
    memory: Memory | None = None  # instead of a thread that writes texts, asynchronous

    def __post_init__(self) -> None:
        for name in ("period", "max_age", "seconds"):
            if not getattr(self, name) > 0:
                raise Dm0Error(
                    f"reasoning: {name} is {getattr(self, name)} s; it must be positive"
                )


def choose_mode(name: str, settings: PolicySettings) -> ReasoningMode:
    """The mode of that name; empty: asynchronous where the checkpoint reasons, else off.

    Raises `Dm0Error` where there is no such mode, and `CheckpointError` where the checkpoint
    cannot reason but is asked to.
    """
    if not name:
        return ReasoningMode.OFF if settings.scaffold is None else ReasoningMode.ASYNCHRONOUS
    known = [mode.value for mode in ReasoningMode]
    if name not in known:
        raise Dm0Error(f"reasoning is '{name}'; choose one of {', '.join(known)}")
    return check_mode(ReasoningMode(name), settings)


def check_mode(mode: ReasoningMode, settings: PolicySettings) -> ReasoningMode:
    """The mode; raises `CheckpointError` where the checkpoint cannot reason but is asked to."""
    if mode is not ReasoningMode.OFF and settings.scaffold is None:
        raise CheckpointError(
            f"{settings.name} does not reason, but reasoning is '{mode.value}': its policy.yaml "
            "has no section 'scaffold'. Choose reasoning 'off', or a checkpoint that was trained "
            "with scaffolds"
        )
    return mode


def choose_levels(level: Level | None, settings: PolicySettings) -> tuple[Level, ...]:
    """The levels to be written up to ``level``; None: all that the checkpoint has.

    Raises `CheckpointError` where it was not trained as far as that.
    """
    known = settings.scaffold.levels
    if level is None:
        return known
    if level not in known:
        raise CheckpointError(
            f"{settings.name} reasons as far as {known[-1].value}, not {level.value}: ask for "
            f"one of {', '.join(one.value for one in known)}"
        )
    return known[: level.count]
