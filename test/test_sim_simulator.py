# SPDX-License-Identifier: Apache-2.0
"""The simulated robot: follows commands, knows the truth, repeats itself for a seed."""

import dataclasses

import numpy as np
import pytest

from dm0_ros.errors import RobotError
from dm0_ros.robots import load_robot
from dm0_ros.robots.kinematics import Chain, load_urdf
from dm0_ros.sim.simulator import Simulator
from dm0_ros.sim.world import load_world
from dm0_ros.training.reach import PoseTable, ReachExpert, Region
from dm0_ros.training.recipe import load_recipe


@pytest.fixture(scope="module")
def simulator():
    simulator = Simulator(load_robot("franka"), seed=3)
    yield simulator
    simulator.close()


def test_the_arm_holds_its_home_against_gravity(simulator):
    simulator.reset(seed=0)
    simulator.step(1.0)
    measured = simulator.measured()
    for name, value in simulator.spec.home.items():
        assert measured[name] == pytest.approx(value, abs=2e-3)
    assert simulator.touches == []


def test_the_arm_follows_commands_by_name_in_any_order(simulator):
    simulator.reset(seed=0)
    wanted = {
        name: value + 0.1 for name, value in simulator.spec.home.items() if "finger" not in name
    }
    names = list(wanted)[::-1]
    simulator.command(names, [wanted[name] for name in names])
    simulator.step(2.0)
    for name, value in wanted.items():
        assert simulator.measured()[name] == pytest.approx(value, abs=5e-3)


def test_gripper_is_commanded_by_opening_and_reported_by_finger(simulator):
    simulator.reset(seed=0)
    (gripper,) = simulator.spec.grippers
    simulator.command([gripper.name], [0.06])
    simulator.step(1.0)
    state = simulator.joint_state()
    finger = state.positions[state.names.index(gripper.name)]
    assert finger == pytest.approx(0.03, abs=1e-3)
    assert simulator.measured()[gripper.name] == pytest.approx(0.06, abs=2e-3)
    other = simulator.data.joint("fr3_finger_joint2").qpos[0]
    assert other == pytest.approx(finger, abs=1e-3)


@pytest.mark.parametrize("block", ["red", "green", "blue"])
def test_the_scripted_expert_touches_the_named_block_first(simulator, block):
    simulator.reset(seed=11)
    top = simulator.object_pose(block)[:3] + np.array([0, 0, 0.025])
    (arm,) = simulator.spec.end_effectors
    region = Region((0.30, -0.24, 0.03), (0.62, 0.24, 0.30))
    table = PoseTable(simulator.spec, arm, region, spacing=0.06)
    expert = ReachExpert(table, load_recipe("nano-franka").expert)
    joints = np.array([simulator.spec.home[name] for name in table.names])
    (plan,) = expert.plan(joints, top[None], 50, 0.1)
    for row in plan:
        simulator.command(table.names, row)
        simulator.step(0.1)
    assert [touch.name for touch in simulator.touches] == [block]
    assert 0.5 < simulator.touches[0].time < 5.0


def test_a_seed_gives_the_same_scene_and_others_differ(simulator):
    def scene(seed):
        simulator.reset(seed=seed)
        poses = [simulator.object_pose(name) for name in simulator.world.object_names]
        return np.stack(poses), simulator.render("high")

    (poses, picture), (again, same_picture), (other, _) = scene(5), scene(5), scene(6)
    np.testing.assert_array_equal(poses, again)
    np.testing.assert_array_equal(picture, same_picture)
    assert np.abs(poses - other).max() > 0.01


def test_blocks_lie_apart_inside_the_region(simulator):
    placement = simulator.world.placement
    for seed in range(30):
        spots = simulator.world.place(np.random.default_rng(seed))[:, :2]
        assert np.all(spots >= placement.lower) and np.all(spots <= placement.upper)
        gaps = [np.linalg.norm(a - b) for i, a in enumerate(spots) for b in spots[:i]]
        assert min(gaps) >= placement.min_distance


def test_pictures_have_the_size_of_the_yaml_and_show_the_blocks(simulator):
    simulator.reset(seed=1)
    for slot, camera in simulator.spec.simulation.cameras.items():
        picture = simulator.render(slot)
        assert picture.shape == (camera.height, camera.width, 3)
        assert picture.dtype == np.uint8
    red, green, blue = np.moveaxis(simulator.render("right_hand").astype(int), -1, 0)
    assert np.count_nonzero((red > 2 * green) & (red > 2 * blue)) > 30
    assert np.count_nonzero((blue > 1.5 * green) & (blue > 2 * red)) > 30


def test_simulated_fingertips_are_where_kinematics_says(simulator):
    simulator.reset(seed=0)
    end = simulator.spec.end_effectors[0]
    chain = Chain(load_urdf(simulator.spec), end.base, end.tool)
    expected = chain.pose(simulator.measured())
    body = simulator.data.body(end.tool)
    np.testing.assert_allclose(body.xpos, expected[:3, 3], atol=1e-6)
    np.testing.assert_allclose(body.xmat.reshape(3, 3), expected[:3, :3], atol=1e-6)


def test_bad_commands_are_refused(simulator):
    with pytest.raises(RobotError, match="unknown joint 'elbow'"):
        simulator.command(["elbow"], [0.0])
    with pytest.raises(RobotError, match="fr3_joint1 is not finite"):
        simulator.command(["fr3_joint1"], [float("nan")])


def test_a_robot_without_simulation_is_refused():
    spec = dataclasses.replace(load_robot("franka"), simulation=None)
    with pytest.raises(RobotError, match="no 'simulation' section"):
        Simulator(spec)


def test_objects_find_room_where_the_first_two_can_be_in_the_way_of_the_third():
    world = load_world("three_blocks_near")
    for seed in range(300):
        poses = world.place(np.random.default_rng(seed))
        gaps = np.linalg.norm(poses[:, None, :2] - poses[None, :, :2], axis=2)
        assert gaps[~np.eye(3, dtype=bool)].min() >= world.placement.min_distance
