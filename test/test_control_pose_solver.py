# SPDX-License-Identifier: Apache-2.0
"""Plans of poses become plans of joints that keep to the poses, inside limits, or are refused."""

import dataclasses

import numpy as np
import pinocchio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pose_samples import (
    ARMS,
    DEGREE,
    MILLIMETRE,
    ROBOTS,
    SOLVERS,
    check,
    chunk_of,
    curve_of,
    errors,
    home,
    home_pose,
    line,
    loop,
    moved,
    path_of,
    random_path,
    robots,
    row_of,
    seeds,
)

from dm0_ros.control.pose_solver import PoseSolver
from dm0_ros.control.pose_tracing import trace
from dm0_ros.errors import PlanError, RobotError
from dm0_ros.robots.inverse import pose_error
from dm0_ros.robots.spec import GripperMode
from dm0_ros.sim.simulator import Simulator


@robots
@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_random_reachable_paths_are_kept_to(robot, seed):
    chunk, start = random_path(robot, seed)
    solution = SOLVERS[robot].solve(chunk, start)
    check(robot, chunk, solution)
    if not solution.limited:
        # K rows take K steps, and each is where and when it was
        assert solution.delay == 0
        assert solution.chunk.step * len(solution.chunk.values) == pytest.approx(30 / 15)


@pytest.mark.filterwarnings("ignore:Using `assume` outside")
def test_an_elbow_that_got_into_the_way_stays_where_it_was():
    """Found by the test above: relaxing, the arm ends up straight before row 27."""
    chunk, start = random_path("franka", 728)
    arm, path = ARMS["franka"], path_of("franka", chunk)
    with pytest.raises(PlanError, match="stretched out"):
        trace(arm, path, start[:-1], chunk.step)
    check("franka", chunk, SOLVERS["franka"].solve(chunk, start))


@robots
@given(seed=seeds, flips=st.lists(st.booleans(), min_size=30, max_size=30))
@settings(max_examples=10, deadline=None)
def test_signs_of_quaternions_change_nothing(robot, seed, flips):
    chunk, start = random_path(robot, seed)
    values = chunk.values.copy()
    values[:, 3:7] *= np.where(flips, -1.0, 1.0)[:, None]
    one = SOLVERS[robot].solve(chunk, start)
    other = SOLVERS[robot].solve(dataclasses.replace(chunk, values=values), start)
    np.testing.assert_array_equal(one.chunk.values, other.chunk.values)


@robots
@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_euler_angles_mean_the_same_as_quaternions(robot, seed):
    chunk, start = random_path(robot, seed)
    angles = [
        pinocchio.rpy.matrixToRpy(pinocchio.Quaternion(row).toRotationMatrix())
        for row in chunk.values[:, 3:7]
    ]
    names = ("x", "y", "z", "roll", "pitch", "yaw", chunk.names[-1])
    values = np.column_stack([chunk.values[:, :3], angles, chunk.values[:, 7]])
    euler = dataclasses.replace(chunk, names=names, values=values)
    one, other = SOLVERS[robot].solve(chunk, start), SOLVERS[robot].solve(euler, start)
    np.testing.assert_allclose(one.chunk.values, other.chunk.values, atol=1e-6)


@robots
@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_a_plan_may_begin_elsewhere(robot, seed):
    """Up to 10 cm and 30 degrees from where the arm is."""
    random = np.random.default_rng(seed)
    begin = moved(home_pose(robot), random.uniform(-0.06, 0.06, 3), random.uniform(-0.3, 0.3, 3))
    poses = [moved(begin, [0, 0, -0.001 * row]) for row in range(20)]
    chunk = chunk_of(robot, [row_of(pose) for pose in poses])
    solution = SOLVERS[robot].solve(chunk, home(robot))
    check(robot, chunk, solution)
    leap = np.abs(solution.chunk.values[0, :-1] - home(robot)[:-1]).max()
    assert leap < 1.2  # the arm keeps its posture


@robots
def test_repeated_rows_stand_still(robot):
    """Also where the arm could move its elbow without moving its hand."""
    bent = home(robot)
    bent[: len(ARMS[robot].names)] += 0.2
    pose = ARMS[robot].chain.pose_at(bent[:-1])
    solution = SOLVERS[robot].solve(chunk_of(robot, [row_of(pose)] * 40), bent)
    np.testing.assert_allclose(solution.chunk.values[:, :-1], [bent[:-1]] * 40, atol=1e-5)
    assert solution.delay == 0 and solution.limited == ()


@robots
def test_one_row_is_a_plan(robot):
    pose = moved(home_pose(robot), [0.01, 0, 0])
    solution = SOLVERS[robot].solve(chunk_of(robot, [row_of(pose)], 0.1), home(robot))
    reached = ARMS[robot].chain.pose_at(solution.chunk.values[-1, :-1])
    assert np.linalg.norm(pose_error(pose, reached)) < 1e-5


@robots
@pytest.mark.parametrize("mode", GripperMode)
@pytest.mark.parametrize("step", [0.1, 0.25])
def test_grippers_keep_their_times(robot, mode, step):
    spec = ROBOTS[robot]
    grippers = tuple(dataclasses.replace(gripper, mode=mode) for gripper in spec.grippers)
    solver = PoseSolver(dataclasses.replace(spec, grippers=grippers))
    chunk = loop(robot, rows=40, step=step)
    chunk.values[:, -1] = np.random.default_rng(0).uniform(0, 0.08, 40)
    solution = solver.solve(chunk, home(robot))
    places = solution.plan_times / step
    if mode is GripperMode.LINEAR:
        wanted = np.interp(places, np.arange(40), chunk.values[:, -1])
    else:
        wanted = chunk.values[np.floor(places + 1e-6).astype(int), -1]
    np.testing.assert_allclose(solution.chunk.values[:, -1], wanted, atol=1e-12)
    assert len(places) == 40 * {0.1: 1, 0.25: 3}[step]


def test_what_is_over_is_not_stretched():
    """A leap in the first rows, long past, does not delay what is to come."""
    chunk = loop("ur5", rows=60)
    chunk.values[:4, 2] += [0.1, 0.1, 0.0, 0.0]
    late = SOLVERS["ur5"].solve(chunk, home("ur5"))
    assert late.delay > 0.05
    solution = SOLVERS["ur5"].solve(chunk, home("ur5"), passed=0.3)
    assert solution.delay == 0 and solution.limited == ()
    np.testing.assert_allclose(solution.plan_times, np.arange(60) / 30, atol=1e-12)


@robots
def test_the_same_twice(robot):
    chunk = loop(robot, rows=50)
    first = SOLVERS[robot].solve(chunk, home(robot))
    SOLVERS[robot].solve(line(robot, [0, 0, 0.05]), home(robot))
    again = SOLVERS[robot].solve(chunk, home(robot))
    np.testing.assert_array_equal(first.chunk.values, again.chunk.values)


@robots
def test_200_rows_in_commanded_joints(robot):
    """Forward kinematics of what is commanded, every 2 ms."""
    chunk = loop(robot)
    solution = SOLVERS[robot].solve(chunk, home(robot))
    assert solution.delay == 0
    check(robot, chunk, solution)
    curve = curve_of(robot, solution)
    times = np.arange(0, curve.end, 0.002)
    joints = [curve.sample(time)[0] for time in times]
    distances, angles = errors(robot, path_of(robot, chunk), times, joints)
    assert distances.max() < MILLIMETRE
    assert angles.max() < 0.2 * DEGREE


@robots
def test_200_rows_in_simulated_physics(robot):
    """The robot in MuJoCo, with servos stiffer than the robot's own, whose lag is 10 ms.

    The shipped ones lag by 0.1 s; the deviation that a lag causes is the servo's, not the plan's.
    """
    lag, spec, arm = 0.01, ROBOTS[robot], ARMS[robot]
    stiff = dict.fromkeys(arm.names, 2e5)
    simulation = dataclasses.replace(
        spec.simulation,
        stiffness={**spec.simulation.stiffness, **stiff},
        damping={**spec.simulation.damping, **dict.fromkeys(arm.names, lag * 200000.0)},
    )
    simulator = Simulator(dataclasses.replace(spec, simulation=simulation), seed=0)
    chunk = loop(robot)
    curve = curve_of(robot, SOLVERS[robot].solve(chunk, home(robot)))
    period = simulation.physics_step
    times, joints = np.arange(0, curve.end, period), []
    for time in times:
        simulator.command(arm.names, curve.sample(time)[0])
        simulator.step(period)
        measured = simulator.measured()
        joints.append(np.array([measured[name] for name in arm.names]))
    due = np.maximum(times + period - lag, 0)
    distances, angles = errors(robot, path_of(robot, chunk), due, joints)
    assert distances.max() < MILLIMETRE
    assert angles.max() < 0.2 * DEGREE
    assert simulator.touches == []


def smallest_singular_value(robot, joints):
    jacobian = ARMS[robot].chain.jacobian_at(joints)
    return np.linalg.svd(jacobian, compute_uv=False)[-1]


@pytest.mark.parametrize(
    ("robot", "way", "turn", "joint"),
    [
        # past the axis of the first joint, over the shoulder
        ("ur5", [0.97, 0.01, 0.2], [0, 0, 0], "shoulder_pan_joint: acceleration"),
        # through the place where the first and the last wrist joint have one axis
        ("ur5", [0, 0, 0], [2.6, 0.2, 0.2], "wrist_3_joint: velocity"),
        # out to where the elbow is straight
        ("franka", [0.37, 0, 0], [0, 0, 0], "fr3_joint4: acceleration"),
    ],
)
def test_near_a_singularity_it_slows_down_and_keeps_to_the_path(robot, way, turn, joint):
    chunk = line(robot, way, turn, rows=45)
    solution = SOLVERS[robot].solve(chunk, home(robot))
    check(robot, chunk, solution)
    assert joint in solution.limited
    assert solution.delay > 0.1
    values = solution.chunk.values[:, :-1]
    rates = np.diff(solution.plan_times) / solution.chunk.step
    distances = [smallest_singular_value(robot, row) for row in values]
    assert min(distances) < 0.05 < max(distances)
    assert np.all(rates <= 1 + 1e-9)
    # slowest near the singularity
    assert abs(np.argmin(rates) - np.argmin(distances)) < len(rates) / 5


@pytest.mark.parametrize(
    ("robot", "way", "turn", "sentence"),
    [
        ("franka", [0.6, 0, 0], [0, 0, 0], r"arm: row \d+ at \(0.[78]\d\d, .* m .*stretched out"),
        ("ur5", [-0.6, 0, 0], [0, 0, 0], r"arm: row \d+ at \(-0.[78]\d\d, .* m .*stretched out"),
        ("franka", [0, 0, 0], [0, 2.5, 0], r"degrees out of reach; joint fr3_joint6 is at its"),
        ("franka", [0, 0, 0], [0, 0, 5], r"degrees .*; joints .*fr3_joint7 are at their limits"),
    ],
)
def test_what_is_out_of_reach_is_refused_by_name(robot, way, turn, sentence):
    with pytest.raises(PlanError, match=sentence):
        SOLVERS[robot].solve(line(robot, way, turn), home(robot))


@robots
def test_the_distance_out_of_reach_is_told(robot):
    far = home_pose(robot)
    far[:3, 3] = np.array([0.0, 3.0, 0.4])
    with pytest.raises(PlanError, match=r"row 0 at \(0.000, 3.000, 0.400\) is [12]\.\d+ m") as e:
        SOLVERS[robot].solve(chunk_of(robot, [row_of(far)] * 3), home(robot))
    told = float(str(e.value).split(" is ")[1].split(" m")[0])
    reach = {"franka": 0.855, "ur5": 0.95}[robot]  # m, of the makers' data sheets
    assert told == pytest.approx(3.0 - reach, abs=0.15)


def test_where_a_joint_reaches_its_limit_the_others_take_over_slowly():
    """Tool down and backwards over its shoulder, an FR3 has to swing aside as joint 6 ends."""
    chunk = line("franka", [-0.55, 0.01, 0.45])
    solution = SOLVERS["franka"].solve(chunk, home("franka"))
    check("franka", chunk, solution)
    column = ARMS["franka"].names.index("fr3_joint6")
    joint = solution.chunk.values[:, column]
    lower = ARMS["franka"].lower[column]
    assert joint.min() == pytest.approx(lower, abs=1e-3)
    rates = np.diff(solution.plan_times) / solution.chunk.step
    assert rates.min() < 0.2
    assert abs(np.argmin(rates) - np.argmax(joint < lower + 0.01)) < 15


def test_a_leap_of_the_joints_is_refused_by_name():
    """Over its shoulder in three rows, an FR3 would have to be in another posture at once."""
    words = r"row 1 at .* is reached from the row before only by a leap of the joints"
    with pytest.raises(PlanError, match=words):
        SOLVERS["franka"].solve(line("franka", [-0.9, -0.15, 0.2], rows=3), home("franka"))


def test_a_joint_that_cannot_turn_on_is_named():
    """The last joint of a UR5 cannot turn for ever."""
    near_end = home("ur5")
    near_end[5] = 6.2
    pose = ARMS["ur5"].chain.pose_at(near_end[:-1])
    poses = [moved(pose, [0, 0, 0], pose[:3, 2] * 0.02 * row) for row in range(40)]
    with pytest.raises(PlanError, match=r"row \d+ .* joint wrist_3_joint is at its limit"):
        SOLVERS["ur5"].solve(chunk_of("ur5", [row_of(p) for p in poses]), near_end)


@robots
def test_what_is_not_finite_is_refused(robot):
    chunk = loop(robot, rows=20)
    chunk.values[3, 2] = np.nan
    with pytest.raises(PlanError, match="not finite: z is nan in row 3"):
        SOLVERS[robot].solve(chunk, home(robot))
    lost = home(robot)
    lost[1] = np.nan
    with pytest.raises(PlanError, match="present joint positions are not finite"):
        SOLVERS[robot].solve(loop(robot, rows=20), lost)


def test_idle_joints_are_named():
    spec = ROBOTS["ur5"]
    with pytest.raises(RobotError, match="no end effector"):
        PoseSolver(dataclasses.replace(spec, end_effectors=(), layouts={}))
    end = dataclasses.replace(spec.end_effectors[0], tip="wrist_1_link")
    with pytest.raises(RobotError, match=r"set-points for .*wrist_1_joint, but the robot"):
        PoseSolver(dataclasses.replace(spec, end_effectors=(end,)))
    with pytest.raises(RobotError, match="the URDF has elbow_joint between"):
        home_without = {k: v for k, v in spec.home.items() if k != "elbow_joint"}
        fewer = tuple(joint for joint in spec.joints if joint.name != "elbow_joint")
        PoseSolver(
            dataclasses.replace(
                spec, joints=fewer, home=home_without, layouts={}, sinks=(), simulation=None
            )
        )
