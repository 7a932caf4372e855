# SPDX-License-Identifier: Apache-2.0
"""Who acts in a suite: a policy that plans chunks, and one that knows nothing."""

from typing import Protocol

import numpy as np

from dm0_ros.errors import CheckpointError
from dm0_ros.libero.environment import Environment
from dm0_ros.policy.protocol import Observation, Policy
from dm0_ros.robots.layouts import COMMAND_COLUMNS
from dm0_ros.robots.spec import Space


class Agent(Protocol):
    """Whatever is asked for actions. Not thread-safe."""

    def begin(self, environment: Environment, task: int, episode: int) -> None:
        """An episode begins, of which nothing before must be remembered."""

    def act(self, observation: Observation) -> np.ndarray:
        """Actions (n, 7), n > 0, all of which are applied before the next observation."""


class RandomAgent:
    """Every input anywhere in [-1, 1]; the same seed, task and episode give the same actions."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def begin(self, _environment: Environment, task: int, episode: int) -> None:
        """See `Agent`."""
        self._random = np.random.default_rng([self._seed, task, episode])

    def act(self, _observation: Observation) -> np.ndarray:
        """See `Agent`."""
        return self._random.uniform(-1.0, 1.0, (1, len(COMMAND_COLUMNS)))


class PolicyAgent:
    """A policy whose plans are LIBERO's actions, followed as far as its authors did."""

    def __init__(self, policy: Policy) -> None:
        """Raises `CheckpointError` where the policy's plans are something else."""
        spec = policy.spec
        if spec.space is not Space.EEF_COMMAND or spec.action_names != COMMAND_COLUMNS:
            raise CheckpointError(
                f"{spec.name} plans {spec.space.value} ({', '.join(spec.action_names)}), not "
                "LIBERO's commands: choose a checkpoint with layout 'command'"
            )
        self._policy, self._rows = policy, spec.executed_rows or spec.horizon

    def begin(self, _environment: Environment, _task: int, _episode: int) -> None:
        """See `Agent`."""
        self._policy.reset()

    def act(self, observation: Observation) -> np.ndarray:
        """See `Agent`."""
        return self._policy.infer(observation).values[: self._rows]
