# SPDX-License-Identifier: Apache-2.0
"""What a cell of the ablation does in closed loop, with sentences it knows and new ones."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import numpy as np
from support.ablation_cells import split_wordings
from support.ablation_folder import read_lines

from dm0_ros.policy.reasoning import ReasoningMode, ReasoningOptions
from dm0_ros.policy.registry import load_policy
from dm0_ros.robots import load_robot
from dm0_ros.sim.simulator import Simulator
from dm0_ros.sim.world import World, load_world
from dm0_ros.training.recipe import ArmRecipe
from dm0_ros.training.rollout import Trial, roll_out
from dm0_ros.training.scaffold_trial import LATENCY, Oracle, perform

KINDS = ("seen", "new")
Report = Callable[[str], None]


class Terms(Protocol):
    """Of all trials."""

    recipe: ArmRecipe
    episodes: int  # of each kind
    period: float  # s between plans
    time_limit: float  # s


def choose_trials(plan: Terms, world: World, seed: int) -> list[tuple[str, int, Trial]]:
    """Kind and number of every trial. Those of one number share scene and object; what differs is
    whether the sentence is one that was trained."""
    trials, wordings = [], world.task(plan.recipe.task).instructions.training
    for number in range(plan.episodes):
        random = np.random.default_rng([7, seed, number])
        target = world.object_names[number % len(world.objects)]
        scene = int(random.integers(2**31))
        for kind, own in zip(KINDS, split_wordings(wordings, target), strict=True):
            wording = str(random.choice(own))
            trials.append((kind, number, Trial(target, wording.format(object=target), scene)))
    return trials


def act(plan: Terms, recipe: ArmRecipe, seed: int, folder: Path, report: Report) -> list[dict]:
    """Every trial's outcome, those of an earlier run read from ``folder``."""
    file = folder / "episodes.jsonl"
    done = read_lines(file)
    world = load_world(recipe.world)
    trials = choose_trials(plan, world, seed)[len(done) :]
    if not trials:
        return done
    robot = load_robot(recipe.robot)
    mode = ReasoningMode.EVERY_PLAN if recipe.scaffold else ReasoningMode.OFF
    policy = load_policy(folder / "checkpoint", robot, reasoning=ReasoningOptions(mode))
    simulator = Simulator(robot, world, 0, recipe.task)
    oracle = Oracle(recipe, simulator) if recipe.scaffold else None
    try:
        for kind, number, trial in trials:
            outcome = _attempt(plan, policy, simulator, oracle, trial)
            done.append({"kind": kind, "number": number, **outcome})
            with file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(done[-1]) + "\n")
            report(f"{folder.name}: {len(done)} episodes, {sum(e['success'] for e in done)} right")
    finally:
        simulator.close()
        policy.close()
    return done


def _attempt(plan: Terms, policy, simulator: Simulator, oracle: Oracle | None, trial) -> dict:
    """With what was said, where something is."""
    if oracle is None:
        done = roll_out(policy, simulator, trial, plan.time_limit, plan.period, LATENCY)
        return {"success": done.success, "seconds": round(done.seconds, 3)}
    (done,) = perform(policy, simulator, oracle, [trial], plan.time_limit, plan.period)
    scores = [asdict(score) for score in done.scores]
    return {"success": done.success, "seconds": round(done.seconds, 3), "scores": scores}
