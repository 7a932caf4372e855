# SPDX-License-Identifier: Apache-2.0
"""Agents through the episodes of a suite, in one process or several."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from dm0_ros.errors import PlanError
from dm0_ros.libero.agents import Agent, PolicyAgent, RandomAgent
from dm0_ros.libero.contract import RATE, REST, observe
from dm0_ros.libero.environment import Environment, open_environment
from dm0_ros.libero.errors import LiberoError
from dm0_ros.libero.records import Result
from dm0_ros.libero.suites import Suite, load_libero_robot, load_suites

AGENTS = ("expert", "random", "checkpoint")

Key = tuple[str, int, int]  # agent, task, episode


@dataclass(frozen=True)
class Conditions:
    """All that an evaluation depends on; any process can begin with it."""

    suite: str
    seed: int
    checkpoint: str = ""
    device: str = "cpu"


def run_episode(
    environment: Environment, agent: Agent, suite: Suite, key: Key, waiting_steps: int
) -> Result:
    """One episode: wait, then act until it is done or the suite's steps are over.

    A policy whose plan is not finite has failed, for the reason that the result holds.
    """
    name, task, episode = key
    moment = environment.reset(task, episode)
    for _ in range(waiting_steps):
        moment, _ = environment.step(REST)
    agent.begin(environment, task, episode)
    steps = 0
    while steps < suite.steps:
        observation = observe(moment, environment.instructions[task], steps / RATE)
        try:
            actions = agent.act(observation)
        except PlanError as flaw:
            return Result(name, task, episode, False, steps, str(flaw))
        for action in actions[: suite.steps - steps]:
            moment, success = environment.step(action)
            steps += 1
            if success:
                return Result(name, task, episode, True, steps)
    return Result(name, task, episode, False, steps)


class Worker:
    """One environment and the agents that were asked for so far. Of one process."""

    def __init__(self, conditions: Conditions) -> None:
        """Raises `LiberoError` where the suite cannot be run here."""
        suites = load_suites()
        self._conditions, self._suite = conditions, suites.find(conditions.suite)
        self._waiting_steps = suites.waiting_steps
        self._environment = open_environment(conditions.suite, conditions.seed)
        self._agents: dict[str, Agent] = {}

    def run(self, key: Key) -> Result:
        """One episode of one agent."""
        name = key[0]
        if name not in self._agents:
            self._agents[name] = _make_agent(name, self._conditions)
        return run_episode(
            self._environment, self._agents[name], self._suite, key, self._waiting_steps
        )

    def close(self) -> None:
        """Free what renders."""
        self._environment.close()


def run_all(conditions: Conditions, keys: Sequence[Key], processes: int = 1) -> Iterator[Result]:
    """The results of the episodes ``keys``, as they come: in order, from one process.

    The same conditions give the same results, from however many. Raises `LiberoError` where the
    suite cannot be run here.
    """
    if processes == 1 or len(keys) < 2:
        worker = Worker(conditions)
        try:
            yield from map(worker.run, keys)
        finally:
            worker.close()
        return
    # A forked process would share its parent's drawing context, and torch's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _begin, (conditions,)) as pool:
        try:
            for done in as_completed([pool.submit(_run, key) for key in keys]):
                yield done.result()
        except BrokenProcessPool as cause:
            raise LiberoError(
                "a process of the evaluation has died, for want of memory perhaps: try fewer, and "
                "with --records only what is missing is done again"
            ) from cause
        finally:
            pool.shutdown(cancel_futures=True)


def list_keys(agents: Sequence[str], tasks: Sequence[int], episodes: int) -> list[Key]:
    """Every episode of every task, agent by agent."""
    return [(name, task, e) for name in agents for task in tasks for e in range(episodes)]


def _make_agent(name: str, conditions: Conditions) -> Agent:
    makers: dict[str, Callable[[], Agent]] = {
        "random": lambda: RandomAgent(conditions.seed),
        "expert": _make_expert,
        "checkpoint": lambda: _load_agent(conditions),
    }
    if name not in makers:
        raise LiberoError(f"there is no policy '{name}'; choose among {', '.join(AGENTS)}")
    return makers[name]()


def _make_expert() -> Agent:
    from dm0_ros.libero.expert import Expert  # needs our simulator

    return Expert()


def _load_agent(conditions: Conditions) -> Agent:
    from dm0_ros.policy.registry import load_policy

    policy = load_policy(
        conditions.checkpoint, load_libero_robot(), device=conditions.device, seed=conditions.seed
    )
    return PolicyAgent(policy)


_worker: Worker | None = None  # of this process, where it is one of several


def _begin(conditions: Conditions) -> None:
    global _worker
    _worker = Worker(conditions)


def _run(key: Key) -> Result:
    return _worker.run(key)
