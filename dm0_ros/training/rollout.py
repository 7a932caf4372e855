# SPDX-License-Identifier: Apache-2.0
"""A policy in closed loop with the simulator, without ROS: quick, deterministic, single-threaded.

The demo measures the same through real nodes. This is for tests and for choosing checkpoints.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dm0_ros.policy.protocol import Observation, Plan, Policy
from dm0_ros.sim.simulator import Simulator
from dm0_ros.sim.world import World

Watch = Callable[[Observation, Plan], None]


@dataclass(frozen=True)
class Trial:
    """What a policy is asked, and in which scene."""

    target: str  # name of the object that the instruction means
    instruction: str
    scene: int  # seed of the simulator's reset


@dataclass(frozen=True)
class Episode:
    """What happened in one rollout."""

    instruction: str
    target: str
    first: str | None  # object to which the task was done
    seconds: float

    @property
    def success(self) -> bool:
        """Whether that was the named object."""
        return self.first == self.target


def ignore(_observation: Observation, _plan: Plan) -> None:
    """The watch of those who ask for outcomes only."""


def roll_out(
    policy: Policy,
    simulator: Simulator,
    trial: Trial,
    time_limit: float,
    period: float,
    latency: float,
    watch: Watch = ignore,
) -> Episode:
    """Let the policy act until the task is done to an object or ``time_limit`` (s) is over.

    A new plan is made every ``period`` s and takes effect ``latency`` s after its observation.
    ``watch`` is called with each, while the simulator still is as it was observed.
    """
    policy.reset()
    simulator.reset(seed=trial.scene)
    dt = 1.0 / simulator.spec.executor.rate
    plan: Plan | None = None
    coming: Plan | None = None
    next_observation = 0.0
    while simulator.time < time_limit and not simulator.outcomes:
        if simulator.time >= next_observation:
            observation = _observe(policy, simulator, trial.instruction)
            coming = policy.infer(observation)
            watch(observation, coming)
            next_observation += period
        if coming and simulator.time >= coming.start + latency:
            plan, coming = coming, None
        if plan:
            simulator.command(plan.names, sample(plan, simulator.time))
        simulator.step(dt)
    first = simulator.outcomes[0] if simulator.outcomes else None
    seconds = first.time if first else simulator.time
    return Episode(trial.instruction, trial.target, first.name if first else None, seconds)


def sample(plan: Plan, now: float) -> np.ndarray:
    """Set-points (D,) at time ``now``, linear between rows, held after the last."""
    times = plan.start + plan.step * np.arange(len(plan.values))
    return np.array([np.interp(now, times, column) for column in plan.values.T])


def _observe(policy: Policy, simulator: Simulator, instruction: str) -> Observation:
    measured = simulator.measured()
    return Observation(
        pictures={slot: simulator.render(slot) for slot in policy.spec.camera_slots},
        state=np.array([measured[name] for name in policy.spec.state_names]),
        instruction=instruction,
        stamp=simulator.time,
    )


def evaluate(
    policy: Policy,
    simulator: Simulator,
    episodes: int,
    seed: int,
    time_limit: float = 20.0,
    period: float = 0.3,
    latency: float = 0.15,
    task: str = "",
) -> list[Episode]:
    """Roll out on test wordings and scenes of ``seed``; objects take turns being named.

    ``task`` is one of the world's; empty: its first.
    """
    trials = draw_trials(simulator.world, episodes, seed, task)
    return [roll_out(policy, simulator, one, time_limit, period, latency) for one in trials]


def draw_trials(world: World, episodes: int, seed: int, task: str = "") -> list[Trial]:
    """Test wordings and scenes of ``seed``; objects take turns being named."""
    random, wordings = np.random.default_rng(seed), world.task(task).instructions.test
    return [
        _draw_trial(random, world.object_names[index % len(world.objects)], wordings)
        for index in range(episodes)
    ]


def _draw_trial(random: np.random.Generator, target: str, wordings: Sequence[str]) -> Trial:
    wording = str(random.choice(wordings))
    return Trial(target, wording.format(object=target), int(random.integers(2**31)))
