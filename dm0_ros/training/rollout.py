# SPDX-License-Identifier: Apache-2.0
"""A policy in closed loop with the simulator, without ROS: quick, deterministic, single-threaded.

The demo measures the same through real nodes. This is for tests and for choosing checkpoints.
"""

from dataclasses import dataclass

import numpy as np

from dm0_ros.policy.protocol import Observation, Plan, Policy
from dm0_ros.sim.simulator import Simulator


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


def roll_out(
    policy: Policy,
    simulator: Simulator,
    instruction: str,
    target: str,
    time_limit: float,
    period: float,
    latency: float,
) -> Episode:
    """Let the policy act until the task is done to an object or ``time_limit`` (s) is over.

    A new plan is made every ``period`` s and takes effect ``latency`` s after its observation.
    """
    policy.reset()
    dt = 1.0 / simulator.spec.executor.rate
    plan: Plan | None = None
    coming: Plan | None = None
    next_observation = 0.0
    while simulator.time < time_limit and not simulator.outcomes:
        if simulator.time >= next_observation:
            coming = policy.infer(_observe(policy, simulator, instruction))
            next_observation += period
        if coming and simulator.time >= coming.start + latency:
            plan, coming = coming, None
        if plan:
            simulator.command(plan.names, sample(plan, simulator.time))
        simulator.step(dt)
    first = simulator.outcomes[0] if simulator.outcomes else None
    seconds = first.time if first else simulator.time
    return Episode(instruction, target, first.name if first else None, seconds)


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
    random = np.random.default_rng(seed)
    world, results = simulator.world, []
    for index in range(episodes):
        target = world.object_names[index % len(world.objects)]
        wording = random.choice(world.task(task).instructions.test)
        simulator.reset(seed=int(random.integers(2**31)))
        instruction = str(wording).format(object=target)
        results.append(
            roll_out(policy, simulator, instruction, target, time_limit, period, latency)
        )
    return results
