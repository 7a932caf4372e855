# SPDX-License-Identifier: Apache-2.0
"""Bag after bag with one network in memory: what a worker does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from dm0_ros.evaluation.evaluate import Setting, Tell, evaluate_bag
from dm0_ros.policy.protocol import Policy
from dm0_ros.policy.reasoning import ReasoningMode, ReasoningOptions
from dm0_ros.policy.registry import find_checkpoint, load_policy
from dm0_ros.policy.trace import digest_robot
from dm0_ros.robots.spec import RobotSpec


class Shelf:
    """Holds the policy that was loaded last, for whoever wants the same again.

    A replay resets its policy before the first plan of every task, so nothing is left of the bag
    before.
    """

    def __init__(self) -> None:
        self._key: tuple | None = None
        self._policy: Policy | None = None

    def load(self, checkpoint: str | Path, robot: RobotSpec, **options: Any) -> Policy:
        """As `load_policy`."""
        reasoning = options.get("reasoning") or ReasoningOptions()
        if reasoning.mode is ReasoningMode.ASYNCHRONOUS:
            # its texts come from a memory that belongs to one bag
            return load_policy(checkpoint, robot, **options)
        folder = find_checkpoint(checkpoint, robot.name).folder
        same = {**options, "reasoning": replace(reasoning, memory=None)}
        files = sorted((f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in folder.iterdir())
        key = str(checkpoint), folder, files, digest_robot(robot), same
        if self._key != key:
            self._key = self._policy = None  # two networks may be more than there is memory
            self._policy = load_policy(checkpoint, robot, **options)
            self._key = key
        return self._policy


_SHELF = Shelf()


def evaluate_next(bag: Path, setting: Setting, folder: Path, tell: Tell) -> None:
    """`evaluate_bag` by the policy of the bag before, where that is the right one."""
    evaluate_bag(bag, setting, folder, tell, _SHELF.load)
