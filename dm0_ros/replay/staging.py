# SPDX-License-Identifier: Apache-2.0
"""By what a bag was recorded, as parameters of the nodes that it is played into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dm0_ros.errors import Dm0Error
from dm0_ros.policy.registry import find_checkpoint
from dm0_ros.policy.trace import Facts
from dm0_ros.replay.layout import Layout, find_layout
from dm0_ros.robots.loading import load_robot

# What of the policy's parameters is as recorded, whatever is chosen otherwise.
_SETTINGS = (
    *("seed", "dtype", "guidance", "threads"),
    *("reasoning", "reasoning_level", "temperature"),
)


@dataclass(frozen=True)
class Staging:
    """A graph like the recorded one."""

    robot: str
    simulated: bool  # whether its latencies are those of its simulation
    compressed: bool  # whether the policy looks at JPEG pictures
    policy: Mapping[str, Any]  # parameters of its node


def stage(
    path: Path,
    robot: str = "",
    checkpoint: str = "",
    namespace: str = "",
    seed: str = "",
    **_others: str,
) -> Staging:
    """As it was recorded, but for what is given, as text; ``namespace`` is the recorded graph's.

    Raises `Dm0Error` where the bag does not say what nobody gave, and where it lacks what the
    checkpoint looks at.
    """
    layout = find_layout(path, namespace)
    facts = layout.read_facts()
    robot = robot or _recall(path, "robot", facts and facts.robot)
    checkpoint = checkpoint or _recall(path, "checkpoint", facts and facts.checkpoint)
    spec = load_robot(robot)
    if not spec.joints:
        raise Dm0Error(
            f"{path}: {spec.name} is a base alone, and only arms have a policy that a bag can be "
            "played into"
        )
    compressed = _look_at_cameras(layout, checkpoint, spec.name, facts)
    parameters = {"checkpoint": checkpoint, "seed": 0}
    if facts is not None:
        parameters |= {name: getattr(facts, name) for name in _SETTINGS}
    if seed:
        parameters["seed"] = _read_seed(seed)
    return Staging(robot, facts is not None and facts.simulated, compressed, parameters)


def _recall(path: Path, name: str, recorded: str | None) -> str:
    if not recorded:
        raise Dm0Error(
            f"{path}: does not say which {name} it was recorded with (it has no policy_facts): "
            "choose one"
        )
    return recorded


def _read_seed(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise Dm0Error(f"seed is '{text}'; give a whole number") from error


def _look_at_cameras(layout: Layout, checkpoint: str, robot: str, facts: Facts | None) -> bool:
    """Whether the checkpoint's cameras are recorded as JPEG pictures; all have to be there."""
    settings = find_checkpoint(checkpoint, robot).load_settings()
    wanted = facts is not None and facts.compressed
    found = layout.find_cameras(settings.used_slots, wanted)
    kinds = {name.endswith("/compressed") for name in found}
    if len(kinds) > 1:
        raise Dm0Error(
            f"{layout.path}: some cameras are recorded raw and some as JPEG, and the policy looks "
            f"at one kind: {', '.join(sorted(found))}"
        )
    return kinds.pop()
