# SPDX-License-Identifier: Apache-2.0
"""Our own suite keeps LIBERO's contract, and its tasks can be done."""

from dataclasses import replace

import numpy as np
import pinocchio
import pytest

from dm0_ros.libero.contract import REST, observe
from dm0_ros.libero.errors import LiberoError
from dm0_ros.libero.evaluation import run_episode
from dm0_ros.libero.expert import Expert
from dm0_ros.libero.offline import OfflineEnvironment
from dm0_ros.libero.suites import load_libero_robot, load_suites
from dm0_ros.robots.cameras import Projection
from dm0_ros.robots.kinematics import Chain, load_urdf

SUITES = load_suites()
ROBOT = load_libero_robot()
BASE = np.array(SUITES.offline.base)


@pytest.fixture(scope="module")
def environment():
    opened = OfflineEnvironment()
    yield opened
    opened.close()


def act(environment, steps, **inputs):
    """Moments after steps with some inputs, the gripper open."""
    action = REST.copy()
    for name, value in inputs.items():
        action[["x", "y", "z", "roll", "pitch", "yaw", "gripper"].index(name)] = value
    return [environment.step(action)[0] for _ in range(steps)]


def test_moments_are_liberos(environment):
    shown = environment.reset(0, 0)
    for view in (shown.agentview, shown.wrist):
        assert view.shape == (256, 256, 3) and view.dtype == np.uint8
    state = observe(shown, environment.instructions[0], 0.0).state
    assert state.shape == (8,)
    # what LIBERO itself shows at its initial posture, whose joints it varies by some 0.02 rad
    assert state == pytest.approx(
        [-0.211, -0.015, 1.176, 3.13, 0, -0.07, 0.0208, -0.0208], abs=0.1
    )
    assert state[:3] == pytest.approx([-0.2085, 0.0, 1.1728], abs=2e-4)


def test_the_state_is_the_hands_pose(environment):
    environment.reset(0, 1)
    shown = act(environment, 8, x=0.5, y=-0.8, z=-0.3, roll=0.2, pitch=-0.3, yaw=0.5)[-1]
    chain = Chain(load_urdf(ROBOT), ROBOT.end_effectors[0].base, SUITES.offline.hand)
    pose = chain.pose(environment._simulator.measured())
    place = BASE + pose[:3, 3] + SUITES.offline.grip * pose[:3, 2]
    # joints are one physics step, 2 ms, ahead of places, as in LIBERO
    assert shown.position == pytest.approx(place, abs=1e-3)
    assert pinocchio.Quaternion(shown.quaternion).matrix() == pytest.approx(pose[:3, :3], abs=4e-3)


# Metres after 20 steps of a full input, as LIBERO's own simulation moved (docs/libero.md).
@pytest.mark.parametrize(
    ("inputs", "column", "expected"), [({"y": 1.0}, 1, 0.2438), ({"z": -1.0}, 2, -0.2517)]
)
def test_the_hand_goes_as_far_as_in_libero(environment, inputs, column, expected):
    environment.reset(0, 0)
    act(environment, 10)
    moments = act(environment, 20, **inputs)
    moved = moments[-1].position - moments[0].position
    assert moved[column] == pytest.approx(expected, rel=0.03)
    others = np.delete(moved, column)
    assert np.abs(others).max() < 0.03


@pytest.mark.parametrize("column", range(3))
def test_rotations_are_about_the_axes_of_the_table(environment, column):
    environment.reset(0, 0)
    act(environment, 10)
    moments = act(environment, 5, **{("roll", "pitch", "yaw")[column]: 1.0})
    first, last = (pinocchio.Quaternion(moments[i].quaternion).matrix() for i in (0, -1))
    turn = pinocchio.log3(last @ first.T)
    assert turn[column] > 0.1
    assert np.abs(np.delete(turn, column)).max() < 0.5 * turn[column]


def test_an_input_of_one_is_the_most(environment):
    ends = []
    for value in (1.0, 7.0, 0.5):
        environment.reset(0, 0)
        ends.append(act(environment, 5, y=value)[-1])
    assert np.array_equal(ends[0].position, ends[1].position)
    assert np.array_equal(ends[0].agentview, ends[1].agentview)
    assert ends[2].position[1] < 0.7 * ends[0].position[1]


def test_of_the_gripper_only_the_sign_counts(environment):
    widths = []
    for value in (0.01, 1.0):
        environment.reset(0, 0)
        act(environment, 10)
        widths.append([m.fingers[0] for m in act(environment, 15, gripper=value)])
        assert widths[-1][0] > 0.035 and widths[-1][-1] < 0.002
    assert widths[0] == widths[1]
    still = act(environment, 3, gripper=0.0)
    assert still[-1].fingers[0] == pytest.approx(widths[1][-1], abs=2e-3)
    assert act(environment, 15, gripper=-1.0)[-1].fingers == pytest.approx([0.04, -0.04], abs=1e-3)


def test_policies_see_the_table_upright_and_mirrored(environment):
    shown = environment.reset(0, 2)
    picture = observe(shown, "x", 0.0).pictures["agentview"]
    place = environment.truth().object - BASE
    projection = Projection.of(ROBOT.simulation.cameras["agentview"])
    ((across, down),) = projection.project(place[None])
    red, green, blue = picture[int(down), 255 - int(across)].astype(int)
    assert red > 100 > 2 * green and red > 2 * blue
    assert shown.agentview[255 - int(down), int(across)].tolist() == [red, green, blue]


def test_scenes_depend_on_task_and_episode_alone(environment):
    def play(where):
        where.reset(7, 3)
        return act(where, 4, x=0.3, z=-1.0)[-1]

    first = play(environment)
    other = OfflineEnvironment()
    other.reset(0, 0)
    second = play(other)
    other.close()
    for one, two in zip(vars(first).values(), vars(second).values(), strict=True):
        assert np.array_equal(one, two)
    assert not np.array_equal(environment.reset(7, 4).agentview, environment.reset(7, 3).agentview)


# All ten are in docs/libero.md; here one of each world.
@pytest.mark.parametrize(("task", "episode"), [(0, 0), (4, 2), (6, 1), (8, 0)])
def test_the_expert_does_it_within_the_steps(environment, task, episode):
    suite = SUITES.suites["offline"]
    key = ("expert", task, episode)
    result = run_episode(environment, Expert(), suite, key, SUITES.waiting_steps)
    assert result.success and result.steps < suite.steps


def test_another_block_does_not_count(environment):
    """Touching the wrong one first cannot be made good."""
    expert, moment = Expert(), environment.reset(7, 0)
    expert.begin(environment, 7, 0)
    wrong = {"yellow": False, "red": False}
    for name in wrong:
        environment.truth = lambda name=name: _truth_of(environment, name)
        expert.begin(environment, 7, 0)
        for _ in range(70):
            moment, success = environment.step(expert.act(observe(moment, "x", 0.0))[0])
            assert not success
    del environment.truth
    assert [outcome.name for outcome in environment._simulator.outcomes][:2] == list(wrong)


def _truth_of(environment, name):
    place = BASE + environment._simulator.object_pose(name)[:3]
    return replace(OfflineEnvironment.truth(environment), object=place)


@pytest.mark.parametrize(("task", "episode", "what"), [(10, 0, "task 10"), (0, 50, "episode 50")])
def test_what_there_is_not_is_named(environment, task, episode, what):
    with pytest.raises(LiberoError, match=f"there is no {what}; there are 0 to"):
        environment.reset(task, episode)


def test_every_task_of_the_suite_can_be_begun(environment):
    assert len(environment.instructions) == SUITES.suites["offline"].tasks == 10
    assert len(set(environment.instructions)) == 10
    for task, instruction in enumerate(environment.instructions):
        environment.reset(task, 49)
        assert SUITES.offline.tasks[task].object in instruction
        assert np.isfinite(environment.truth().object).all()
