# SPDX-License-Identifier: Apache-2.0
"""The scripted expert of whole robots: each arm on its side, and blocks into the bin."""

from dataclasses import replace

import numpy as np
import pytest

from dm0_ros.errors import Dm0Error
from dm0_ros.robots import load_robot
from dm0_ros.sim.simulator import Simulator
from dm0_ros.sim.world import load_world
from dm0_ros.training.expert import Expert, Scene
from dm0_ros.training.recipe import load_recipe

ROWS, STEP = 50, 0.1


def prepare(name):
    recipe = load_recipe(name)
    simulator = Simulator(load_robot(recipe.robot), load_world(recipe.world), 0, recipe.task)
    return simulator, Expert(simulator, recipe.workspace, recipe.expert, recipe.place)


def perform(simulator, expert, index, seconds):
    """Let the expert act for one object, with a new plan every 0.4 s."""
    while simulator.time < seconds and not simulator.outcomes:
        plan = expert.plan(Scene.of(simulator), ROWS, STEP)[index]
        for row in plan[1:5]:
            simulator.command(expert.names, row)
            simulator.step(STEP)


@pytest.fixture(scope="module")
def pair():
    simulator, expert = prepare("nano-aloha")
    yield simulator, expert
    simulator.close()


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_nearer_of_two_arms_touches_and_the_other_stays(pair, side):
    simulator, expert = pair
    away = 1 if side == "left" else -1
    poses = np.array(
        [[0.33, 0.18 * away, 0.1], [0.3, -0.1 * away, 0.0], [0.36, -0.19 * away, 0.0]]
    )
    simulator.arrange(poses, simulator.spec.home)
    (plan, *_) = expert.plan(Scene.of(simulator), ROWS, STEP)
    for name, column in zip(expert.names, plan.T, strict=True):
        assert name.startswith(side) or np.ptp(column) == 0.0, name
    perform(simulator, expert, 0, 6.0)
    assert [outcome.name for outcome in simulator.outcomes] == ["red"]


def test_episodes_start_with_each_arm_at_home_or_in_its_region(pair):
    simulator, expert = pair
    home = simulator.spec.home
    random = np.random.default_rng(0)
    starts = [expert.start(random, 0.5, 0.0) for _ in range(40)]
    moved = [
        tuple(
            any(start[n] != home[n] for n in home if n.startswith(side))
            for side in ("left", "right")
        )
        for start in starts
    ]
    assert len(set(moved)) == 4
    assert expert.start(random, 1.0, 0.0) == home


def test_a_workspace_must_name_every_end_effector(pair):
    simulator, _ = pair
    recipe = load_recipe("nano-aloha")
    with pytest.raises(Dm0Error, match="workspace must name its end effectors: left, right"):
        Expert(simulator, {"left": recipe.workspace["left"]}, recipe.expert, None)


@pytest.fixture(scope="module")
def picker():
    simulator, expert = prepare("nano-franka-pick")
    yield simulator, expert
    simulator.close()


@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_named_block_goes_into_the_bin_and_no_other(picker, index):
    simulator, expert = picker
    simulator.reset(seed=20 + index)
    perform(simulator, expert, index, 12.0)
    assert [outcome.name for outcome in simulator.outcomes] == [
        simulator.world.object_names[index]
    ]


def test_a_plan_for_a_block_in_the_fingers_keeps_them_closed_until_over_the_bin(picker):
    simulator, expert = picker
    simulator.reset(seed=3)
    scene = Scene.of(simulator)
    end = simulator.data.body(simulator.spec.end_effectors[0].tool).xpos
    gripper = simulator.spec.gripper_names[0]
    held = replace(
        scene,
        measured={**scene.measured, gripper: 0.045},
        centres=np.stack([end, scene.centres[1], scene.centres[2]]),
    )
    keeps, opens, _ = expert.plan(held, ROWS, STEP)[..., expert.names.index(gripper)]
    assert keeps[:10].max() == simulator.spec.grippers[0].closed
    assert keeps[-1] == pytest.approx(load_recipe("nano-franka-pick").place.opening, abs=1e-3)
    assert opens[5] > 0.06  # another block is wanted: what is held is let go


def test_a_held_block_does_not_slip_in_ten_seconds(picker):
    simulator, expert = picker
    simulator.reset(seed=20)
    while simulator.object_pose("red")[2] < 0.1:
        assert simulator.time < 10.0
        plan = expert.plan(Scene.of(simulator), ROWS, STEP)[0]
        for row in plan[1:5]:
            simulator.command(expert.names, row)
            simulator.step(STEP)
    tool = simulator.data.body(simulator.spec.end_effectors[0].tool)
    simulator.step(1.0)
    before = simulator.object_pose("red")[:3] - tool.xpos
    simulator.step(10.0)
    slipped = simulator.object_pose("red")[:3] - tool.xpos - before
    assert np.abs(slipped).max() < 2e-3, slipped
    assert simulator.outcomes == []


def test_a_block_counts_as_placed_when_it_lies_in_the_bin(picker):
    simulator, _ = picker
    world = simulator.world
    inside, beside = world.bin.position, (world.bin.position[0], world.bin.position[1] - 0.12)
    simulator.arrange(
        np.array([[0.4, -0.2, 0.0], [*inside, 0.0], [*beside, 0.0]]), simulator.spec.home
    )
    assert simulator.outcomes == []
    simulator.step(0.5)
    assert [outcome.name for outcome in simulator.outcomes] == ["green"]
    assert simulator.touches == []


def test_a_task_that_places_needs_its_settings(picker):
    simulator, _ = picker
    recipe = load_recipe("nano-franka-pick")
    with pytest.raises(Dm0Error, match="needs the recipe's 'place'"):
        Expert(simulator, recipe.workspace, recipe.expert, None)
