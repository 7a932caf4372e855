# SPDX-License-Identifier: Apache-2.0
"""What policies say against the truth: by hand, and in closed loop with one that knows it."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from dm0_ros.commands.eval import eval as eval_
from dm0_ros.commands.scaffold_report import choose_checkpoint, find_recipe
from dm0_ros.errors import CheckpointError, Dm0Error
from dm0_ros.intervals import bootstrap, wilson
from dm0_ros.policy.protocol import Latency, Plan, PolicySpec
from dm0_ros.policy.reasoning import Thought
from dm0_ros.policy.registry import find_checkpoint
from dm0_ros.robots import load_robot
from dm0_ros.scaffold.content import Rejection, Scaffold
from dm0_ros.scaffold.grammar import load_grammar
from dm0_ros.scaffold.levels import Level
from dm0_ros.scaffold.settings import ScaffoldSettings
from dm0_ros.sim.simulator import Simulator
from dm0_ros.sim.world import load_world
from dm0_ros.training.expert import Expert, Scene
from dm0_ros.training.recipe import load_recipe
from dm0_ros.training.rollout import draw_trials
from dm0_ros.training.scaffold_pictures import TRUE_BOX_COLOUR, Album
from dm0_ros.training.scaffold_scores import Score, ScoredEpisode, compare, summarise
from dm0_ros.training.scaffold_trial import Oracle, perform

LEVELS = (Level.SUBTASK, Level.BOX, Level.TRAJECTORY)
SETTINGS = ScaffoldSettings("nano", LEVELS, "right_hand", 120, path_rows=(9, 19, 29, 39, 49))
TRUTH = Scaffold("go", (100, 100, 300, 200), {"main": ((0, 0), (500, 1000))})


def test_a_text_is_compared_with_the_truth_as_by_hand():
    assert compare(TRUTH, TRUTH, LEVELS, 1.0) == (True, 1.0, 0.0, True)
    # half of the box, shifted: 100 x 100 of 200 x 100 + 200 x 100 - 100 x 100
    told = Scaffold("stop", (200, 100, 400, 200), {"main": ((0, 100), (500, 900))})
    subtask, iou, error, due = compare(told, TRUTH, LEVELS, 1.0)
    assert (subtask, due) == (False, True)
    assert iou == pytest.approx(1 / 3)
    assert error == pytest.approx(22.4)  # a tenth of 224 pixels at both points
    assert compare(told, TRUTH, LEVELS, 0.5)[2] == pytest.approx(11.2)  # half as high


def test_of_two_paths_the_error_is_the_mean():
    truth = replace(TRUTH, paths={"left": ((0, 0),), "right": ((0, 0),)})
    told = replace(TRUTH, paths={"left": ((0, 0),), "right": ((1000, 0),)})
    assert compare(told, truth, LEVELS, 1.0)[2] == pytest.approx(112)
    one = replace(TRUTH, paths={"right": ((1000, 0),)})
    assert compare(one, truth, LEVELS, 1.0)[2:] == (None, True)


def test_what_is_refused_has_no_overlap_and_no_path():
    assert compare(None, TRUTH, LEVELS, 1.0) == (False, 0.0, None, True)
    assert compare(None, TRUTH, LEVELS[:1], 1.0) == (False, None, None, False)


def test_a_box_counts_where_there_is_one_or_one_was_told():
    bare = Scaffold("go")
    assert compare(bare, bare, LEVELS, 1.0) == (True, None, None, False)
    assert compare(TRUTH, bare, LEVELS, 1.0)[1] == 0.0
    assert compare(bare, TRUTH, LEVELS, 1.0)[1:] == (0.0, None, True)


def test_figures_are_means_over_plans():
    good, bad = (
        Score(True, True, 0.8, 4.0, True, 50, 10.0),
        Score(False, False, 0.0, None, True, 70, 30.0),
    )
    episodes = [ScoredEpisode(True, 3.0, (good, good, bad)), ScoredEpisode(False, 20.0, (bad,))]
    figures = summarise(episodes)
    assert (figures["episodes"], figures["plans"], figures["success"]) == (2, 4, 0.5)
    assert figures["valid_fraction"] == figures["subtask_right"] == 0.5
    assert figures["box_iou"] == pytest.approx(0.4)
    assert (figures["path_error_px"], figures["path_plans"], figures["path_due_plans"]) == (
        4.0,
        2,
        4,
    )
    assert (figures["tokens"], figures["milliseconds"]) == (60, 20)
    assert figures["box_iou_95"] == (0.0, pytest.approx(1.6 / 3))  # either episode alone
    assert summarise([])["box_iou"] is None


def test_intervals():
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 5)[0] == 0 and wilson(5, 5)[1] == 1
    with pytest.raises(Dm0Error, match="3 of 2"):
        wilson(3, 2)
    assert bootstrap([[1.0, 1.0], [1.0]]) == (1.0, 1.0)
    assert bootstrap([[], []]) is None
    values = np.random.default_rng(1).normal(5, 1, (400, 1))
    low, high = bootstrap(values.tolist())
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.15)
    # Values that belong together are no more than one of them.
    low, high = bootstrap(np.repeat(values, 9, axis=1).tolist())
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.15)


class Knowing:
    """A policy that does what the expert does, and says what `change` makes of the true text."""

    def __init__(self, recipe, simulator, change=lambda text: text):
        self.robot, self.recipe, self.simulator = simulator.spec, recipe, simulator
        self.oracle, self.change = Oracle(recipe, simulator), change
        self.expert = Expert(simulator, recipe.workspace, recipe.expert, recipe.place)
        self.grammar = load_grammar("nano")
        layout = self.robot.layout("joint")
        self.spec = PolicySpec(
            name="knowing",
            camera_slots=("right_hand",),
            state_names=layout.columns,
            action_names=self.expert.names,
            space=layout.space,
            horizon=50,
            step=0.1,
        )

    def reset(self):
        pass

    def infer(self, observation, prefix=None):
        names = self.simulator.world.object_names
        (target,) = [name for name in names if f" {name}" in observation.instruction]
        text = self.change(self.grammar.write(self.oracle.tell(target), LEVELS))
        found = self.grammar.parse(text)
        refused = isinstance(found, Rejection)
        thought = Thought(
            text=text,
            token_ids=tuple(range(7)),
            scaffold=None if refused else found,
            rejection=found.reason if refused else "",
            instruction=observation.instruction,
            stamp=observation.stamp,
            observed=observation.stamp,
            view="right_hand",
            width=336,
            height=336,
            milliseconds=2.0,
        )
        plans = self.expert.plan(Scene.of(self.simulator), 50, 0.1)
        return Plan(
            observation.stamp,
            0.1,
            self.spec.space,
            self.spec.action_names,
            plans[names.index(target)],
            math.nan,
            Latency(0.0, 0.0, 2.0, 0.0),
            thought,
        )


@pytest.fixture(scope="module")
def stage():
    recipe = replace(load_recipe("nano-franka"), scaffold=SETTINGS)
    simulator = Simulator(load_robot("franka"), load_world(recipe.world), 0, recipe.task)
    yield recipe, simulator
    simulator.close()


def roll(stage, change, count=2, **options):
    recipe, simulator = stage
    policy, oracle = Knowing(recipe, simulator, change), Oracle(recipe, simulator)
    trials = draw_trials(simulator.world, count, 7, recipe.task)
    return list(perform(policy, simulator, oracle, trials, **options))


def test_who_tells_the_truth_is_right(stage, tmp_path):
    figures = summarise(roll(stage, lambda text: text, witness=Album(tmp_path).add))
    wanted = {"success": 1.0, "valid_fraction": 1.0, "subtask_right": 1.0, "box_iou": 1.0}
    assert {key: figures[key] for key in wanted} == wanted
    assert figures["path_error_px"] == 0.0
    assert figures["plans"] == figures["box_plans"] == figures["path_plans"] > 4
    assert (figures["tokens"], figures["milliseconds"]) == (7, 2)
    pictures = sorted(path.name for path in tmp_path.iterdir())
    assert pictures[0] == "episode00_plan00.png" and len(pictures) == 4
    drawn = np.asarray(Image.open(tmp_path / pictures[0]))
    assert drawn.shape == (672, 672, 3)
    assert (drawn[100:] == TRUE_BOX_COLOUR).all(2).sum() == 0  # hidden by the told one, equal


def test_what_is_not_understood_counts_as_nothing(stage, tmp_path):
    album = Album(tmp_path)
    figures = summarise(roll(stage, lambda text: text[:-4], witness=album.add, time_limit=1.0))
    assert (figures["valid_fraction"], figures["box_iou"], figures["subtask_right"]) == (0, 0, 0)
    assert (figures["path_error_px"], figures["path_plans"]) == (None, 0)
    assert figures["path_due_plans"] == figures["plans"] == figures["box_plans"]
    drawn = np.asarray(Image.open(next(tmp_path.iterdir())))
    assert (drawn[100:] == TRUE_BOX_COLOUR).all(2).sum() > 50


def test_a_shifted_path_is_off_by_the_shift(stage):
    def shift(text):
        head, _, path = text.partition("path: main ")
        numbers = [int(word) for word in path.split()]
        moved = [f"{n + 50 * (k % 2 == 0):03d}" for k, n in enumerate(numbers)]
        return f"{head}path: main {' '.join(moved)}\n"

    figures = summarise(roll(stage, shift, count=1, time_limit=1.0))
    assert figures["path_error_px"] == pytest.approx(0.05 * 224)
    assert figures["box_iou"] == 1.0


def test_a_policy_that_says_nothing_is_refused(stage):
    recipe, simulator = stage
    policy = Knowing(recipe, simulator)
    speak = policy.infer
    policy.infer = lambda observation: replace(speak(observation), thought=None)
    trials = draw_trials(simulator.world, 1, 0)
    with pytest.raises(Dm0Error, match=r"without a text; .* every_plan"):
        list(perform(policy, simulator, Oracle(recipe, simulator), trials))


def test_the_recipe_is_the_one_that_the_checkpoint_is_named_after():
    settings = find_checkpoint("nano-franka").load_settings()
    with_scaffold = replace(settings, scaffold=SETTINGS)
    recipe = find_recipe("", with_scaffold, "")
    assert (recipe.name, recipe.scaffold, recipe.task) == ("nano-franka", SETTINGS, "touch")
    assert find_recipe("nano-ur5", with_scaffold, "").world == settings.world
    with pytest.raises(Dm0Error, match="--recipe"):
        find_recipe("", replace(with_scaffold, name="mine"), "")
    with pytest.raises(Dm0Error, match="for a base"):
        find_recipe("nano-navigation", with_scaffold, "")


def test_a_checkpoint_must_reason():
    name, settings = choose_checkpoint("", "franka", "")
    assert name == "nano-franka-reason" and settings.scaffold is not None
    for chosen, robot, task in (("nano-franka", "franka", ""), ("", "franka", "pick")):
        with pytest.raises(CheckpointError, match="says nothing before it acts"):
            choose_checkpoint(chosen, robot, task)
    with pytest.raises(CheckpointError, match="for franka and task dance"):
        choose_checkpoint("", "franka", "dance")


def test_the_command_judges_a_network(tmp_path, reasoning_checkpoint):
    """Its texts, which it knows by heart, are about no such scene."""
    figures = tmp_path / "figures.json"
    command = ["scaffold", "--episodes", "1", "--checkpoint", str(reasoning_checkpoint)]
    command += ["--recipe", "nano-franka", "--json", str(figures), "--task", "touch"]
    result = CliRunner().invoke(eval_, [*command, "--pictures", str(tmp_path / "pictures")])
    assert result.exit_code == 0, (result.output, result.exception)
    assert "box IoU" in result.output
    written = json.loads(figures.read_text())
    assert {"box_iou", "path_error_px", "valid_fraction", "success"} <= set(written)
    assert (written["episodes"], written["seed"], written["task"]) == (1, 7, "touch")
    assert written["plans"] > 10
    assert list((tmp_path / "pictures").iterdir())
