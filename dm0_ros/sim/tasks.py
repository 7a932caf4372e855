# SPDX-License-Identifier: Apache-2.0
"""What to ask of a robot in a world: which object, in which words. A function of a seed."""

from dataclasses import dataclass

import numpy as np

from dm0_ros.errors import Dm0Error
from dm0_ros.sim.world import TaskKind, World


@dataclass(frozen=True)
class Task:
    """One instruction, the object that it names, and what has to happen to that."""

    object: str
    instruction: str
    kind: TaskKind = TaskKind.TOUCH


def choose_tasks(world: World, count: int, seed: int, task: str = "") -> list[Task]:
    """``count`` times the world's ``task`` (empty: its first), in wordings not trained on.

    Objects, and wordings, come equally often, give or take one; their order is random. Raises
    `Dm0Error` where the world has nothing to ask for.
    """
    description = world.task(task)
    instructions = description.instructions
    if not world.objects or not instructions.test:
        raise Dm0Error(f"world {world.name}: has no objects or no test instructions; add them")
    random = np.random.default_rng(seed)
    objects = _deal(world.object_names, count, random)
    wordings = _deal(instructions.test, count, random)
    return [
        Task(name, wording.format(object=name), description.kind)
        for name, wording in zip(objects, wordings, strict=True)
    ]


def _deal(values: tuple[str, ...], count: int, random: np.random.Generator) -> list[str]:
    """``count`` values, each about equally often: a shuffled pack, then the next one."""
    packs = [random.permutation(len(values)) for _ in range(-(-count // len(values)))]
    order = np.concatenate([np.empty(0, int), *packs])[:count]
    return [values[index] for index in order]
