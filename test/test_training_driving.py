# SPDX-License-Identifier: Apache-2.0
"""The training of a base's policy at toy size: frames, labels, and a checkpoint that drives."""

from dataclasses import replace

import numpy as np
import pytest

from dm0_ros.navigation.driver import Driver
from dm0_ros.navigation.house import load_house
from dm0_ros.navigation.objectnav import Action, ObjectNav, choose_episodes
from dm0_ros.navigation.pursuit import integrate
from dm0_ros.navigation.routes import Velocities
from dm0_ros.policy.dm0_policy import Dm0Policy
from dm0_ros.robots import load_robot
from dm0_ros.sim.house_scene import HouseCamera
from dm0_ros.training.dataset import Dataset
from dm0_ros.training.driving import DriveRecorder, load_drives
from dm0_ros.training.recipe import ArmRecipe, DrivingRecipe, load_recipe
from dm0_ros.training.run import scale, train

RECIPE = load_recipe("nano-navigation")
FRAMES = 12


def shrink(recipe):
    vision = replace(recipe.network.vision, image_size=32, width=16, layers=1, heads=2)
    network = replace(recipe.network, vision=vision, layers=1)
    optimiser = replace(recipe.optimiser, batch=2, save_every=2)
    return replace(recipe, network=network, optimiser=optimiser)


@pytest.fixture(scope="module")
def recorder():
    recorder = DriveRecorder(RECIPE, seed=5)
    yield recorder
    recorder.close()


def test_which_recipes_are_for_a_base():
    assert isinstance(RECIPE, DrivingRecipe)
    assert isinstance(load_recipe("nano-franka"), ArmRecipe)


def test_a_trial_run_records_less():
    trial = scale(RECIPE, RECIPE.optimiser.steps // 10, None)
    assert trial.data.frames == RECIPE.data.frames // 10
    assert scale(RECIPE, 1, None).data.frames == 100
    assert scale(RECIPE, 1, 7).data.frames == 7


def test_a_frame_is_a_function_of_seed_and_number(recorder):
    picture, plans = recorder.frame(3)
    assert picture.shape == (112, 112, 3) and plans.shape == (6, 16, 3)
    again, same = recorder.frame(3)
    assert np.array_equal(picture, again) and np.array_equal(plans, same)
    assert not np.array_equal(recorder.frame(4)[0], picture)


def test_plans_lead_nearer_to_each_category(recorder):
    """Judged by ObjectNav's own distances, not by the guide's."""
    task = ObjectNav(recorder.house)
    random, nearer = np.random.default_rng(0), []
    for place in task.space.sample(random, 8):
        pose = np.array([*place, random.uniform(-3, 3)])
        plans = recorder.guide.plan(pose, recorder.house.categories, 40, 0.25, RECIPE.pursuit)
        for category, rows in zip(recorder.house.categories, plans, strict=True):
            end = Velocities(0.25, rows).route().poses[-1]
            there = integrate(pose, end * [1.0, 1.0, 0.0], 1.0)[:2]
            before, after = task.geodesics[category].distance([pose[:2], there])
            assert after < max(before - 1.0, 0.1) or before - after > 0.8
            nearer.append(after < 0.1)
            assert (rows[:, 1] == 0).all()
            assert rows[:, 0].min() >= 0 and rows[:, 0].max() <= 0.5
            assert np.abs(rows[:, 2]).max() <= 1.2
    assert 0.2 < np.mean(nearer) < 1.0


def test_a_run_makes_a_checkpoint_that_drives_and_goes_on_where_it_stopped(tmp_path):
    said = []
    recipe = scale(shrink(RECIPE), 2, FRAMES)
    checkpoint = train(recipe, 0, tmp_path, 1, "cpu", said.append)
    assert said[0].stage == "record" and said[0].done == FRAMES
    assert [p.done for p in said if p.stage == "train"] == [1, 2]

    dataset = Dataset(recipe, load_drives(recipe, tmp_path / "data"))
    assert (dataset.size, dataset.train_size) == (FRAMES, FRAMES - 1)
    assert len(dataset.sentences()) == 6 * len(load_house("house").instructions.training)

    more = scale(recipe, 3, FRAMES)
    said.clear()
    train(more, 0, tmp_path, 1, "cpu", said.append)
    assert [(p.stage, p.done) for p in said] == [("train", 3)]  # nothing is recorded twice

    house, robot = load_house("house"), load_robot("mobile_base")
    camera = HouseCamera(house, 640, 480, 1.107)

    def look(position, yaw, tilt):
        view = camera.look(position, yaw, tilt, want_depth=True)
        return view.colour, view.depth

    task = ObjectNav(house, look=look)
    (episode,) = choose_episodes(task, 1, 0)
    paths = []
    for _ in range(2):
        driver = Driver(Dm0Policy.from_checkpoint(checkpoint, robot), house.instructions.test, 0)
        task.begin(episode)
        driver.begin(0)
        actions = []
        while not task.over and task.taken < 12:
            actions.append(driver.act(task))
            task.step(actions[-1])
        paths.append(actions)
    camera.close()
    assert paths[0] == paths[1] and set(paths[0]) <= set(Action)
