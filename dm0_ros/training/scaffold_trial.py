# SPDX-License-Identifier: Apache-2.0
"""A policy that reasons in closed loop with the simulator: every text against the truth."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dm0_ros.errors import Dm0Error
from dm0_ros.policy.protocol import Observation, Plan, Policy
from dm0_ros.policy.reasoning import Thought
from dm0_ros.scaffold.content import Scaffold
from dm0_ros.sim.simulator import Simulator
from dm0_ros.training.annotation import Annotator, Composer
from dm0_ros.training.expert import Expert, Scene
from dm0_ros.training.recipe import ArmRecipe
from dm0_ros.training.rollout import Trial, roll_out
from dm0_ros.training.scaffold_scores import Score, ScoredEpisode, compare

TIME_LIMIT = 20.0  # s
LATENCY = 0.15  # s of simulated time from an observation to the plan made of it
_PERIOD = 0.3  # s between plans of a policy whose authors do not say


class Oracle:
    """Tells the perfect scaffold of a simulator's present moment.

    ``recipe`` is of the training: its expert is the one whose way counts as true. Raises
    `RecipeError` where it has no scaffold, and as `check_scaffold` does.
    """

    def __init__(self, recipe: ArmRecipe, simulator: Simulator) -> None:
        self.recipe, self._simulator = recipe, simulator
        self._composer = Composer(recipe)
        self._expert = Expert(simulator, recipe.workspace, recipe.expert, recipe.place)
        self._annotator = Annotator(simulator, self._expert, recipe.scaffold)

    def tell(self, target: str) -> Scaffold:
        """What should be said now, where the instruction means the object ``target``."""
        scene, rows = Scene.of(self._simulator), self.recipe.network.chunk_size
        plans = self._expert.plan(scene, rows, self.recipe.step)
        index = self._simulator.world.object_names.index(target)
        return self._composer.compose(self._annotator.annotate(plans), index)


@dataclass(frozen=True, eq=False)
class Moment:
    """One plan's text beside the truth."""

    number: int  # of the plan, in its episode
    picture: np.ndarray  # (height, width, 3) uint8: the main view
    thought: Thought
    truth: Scaffold
    score: Score


def ignore(_trial: Trial, _moment: Moment) -> None:
    """The witness of those who ask for scores only."""


def perform(
    policy: Policy,
    simulator: Simulator,
    oracle: Oracle,
    trials: Sequence[Trial],
    time_limit: float = TIME_LIMIT,
    period: float | None = None,
    witness: Callable[[Trial, Moment], None] = ignore,
) -> Iterator[ScoredEpisode]:
    """Roll out trial by trial; each comes as it ends.

    ``period`` (s) between plans is by default the policy's own, where its authors give one.
    Raises `Dm0Error` where a plan was made without a text.
    """
    spec = policy.spec
    if period is None:
        period = spec.period if spec.executed_rows else _PERIOD
    for trial in trials:
        scores: list[Score] = []

        def watch(observation: Observation, plan: Plan, trial=trial, scores=scores) -> None:
            moment = _judge(oracle, trial, len(scores), observation, plan)
            scores.append(moment.score)
            witness(trial, moment)

        done = roll_out(policy, simulator, trial, time_limit, period, LATENCY, watch)
        yield ScoredEpisode(done.success, done.seconds, tuple(scores))


def _judge(
    oracle: Oracle, trial: Trial, number: int, observation: Observation, plan: Plan
) -> Moment:
    thought = plan.thought
    if thought is None:
        raise Dm0Error("a plan came without a text; load the policy with reasoning every_plan")
    truth, levels = oracle.tell(trial.target), oracle.recipe.scaffold.levels
    aspect = thought.height / thought.width
    subtask, iou, error, due = compare(thought.scaffold, truth, levels, aspect)
    tokens, took = len(thought.token_ids), thought.milliseconds
    score = Score(thought.valid, subtask, iou, error, due, tokens, took)
    return Moment(number, observation.pictures[thought.view], thought, truth, score)
