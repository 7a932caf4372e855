# SPDX-License-Identifier: Apache-2.0
"""Robots, paths of poses, and what holds of every solution, for the tests of pose plans."""

import numpy as np
import pinocchio
import pytest
from hypothesis import assume
from hypothesis import strategies as st

from dm0_ros.control.certificate import certify
from dm0_ros.control.kinematics import Arm
from dm0_ros.control.limits import Limits
from dm0_ros.control.plan import Chunk, Plan, interpolate
from dm0_ros.control.pose import PosePath, read_plan
from dm0_ros.control.pose_solver import PoseSolver
from dm0_ros.robots import load_robot
from dm0_ros.robots.inverse import pose_error
from dm0_ros.robots.spec import Space

ROBOTS = {name: load_robot(name) for name in ("franka", "ur5")}
ARMS = {name: Arm(spec, spec.end_effectors[0]) for name, spec in ROBOTS.items()}
SOLVERS = {name: PoseSolver(spec) for name, spec in ROBOTS.items()}
POSE = ("x", "y", "z", "qx", "qy", "qz", "qw")
MILLIMETRE, DEGREE = 1e-3, np.deg2rad(1)
seeds = st.integers(0, 100_000)
robots = pytest.mark.parametrize("robot", ROBOTS)


def home(robot):
    return np.array([ROBOTS[robot].home[name] for name in ROBOTS[robot].column_names])


def home_pose(robot):
    return ARMS[robot].chain.pose(ROBOTS[robot].home)


def row_of(pose, opening=0.02):
    return [*pose[:3, 3], *pinocchio.Quaternion(pose[:3, :3]).coeffs(), opening]


def chunk_of(robot, values, step=1 / 30):
    names = (*POSE, *ROBOTS[robot].gripper_names)
    return Chunk(7.0, step, Space.EEF_POSE, names, np.asarray(values, float), 4, 2)


def moved(pose, way, turn=(0, 0, 0)):
    pose = pose.copy()
    pose[:3, 3] += way
    pose[:3, :3] = pinocchio.exp3(np.asarray(turn, float)) @ pose[:3, :3]
    return pose


def line(robot, way, turn=(0, 0, 0), rows=60, step=1 / 30):
    """From the home pose straight on, at rest at both ends."""
    x = np.linspace(0, 1, rows)
    shares = x**3 * (10 - 15 * x + 6 * x * x)
    start = home_pose(robot)
    poses = [moved(start, np.multiply(way, s), np.multiply(turn, s)) for s in shares]
    return chunk_of(robot, [row_of(pose) for pose in poses], step)


def loop(robot, rows=200, step=1 / 30):
    """An eight in space, 16 cm wide, that tilts the tool by 14 degrees; eased in and out."""
    x = np.arange(rows) / rows
    phase = 2 * np.pi * rows * step / 5 * x**3 * (10 - 15 * x + 6 * x * x)
    ways = 0.08 * np.stack([np.sin(phase), 1 - np.cos(phase), np.sin(2 * phase) / 2], axis=1)
    turns = 0.25 * np.stack([np.sin(phase), np.sin(2 * phase) / 2, np.sin(phase)], axis=1)
    start = home_pose(robot)
    poses = [moved(start, way, turn) for way, turn in zip(ways, turns, strict=True)]
    return chunk_of(robot, [row_of(pose) for pose in poses], step)


def curve_of(robot, solution):
    chunk = solution.chunk
    assert chunk.space is Space.JOINT_POSITION
    assert chunk.names == ROBOTS[robot].column_names
    return interpolate(Plan(0, 0.0, chunk.step, chunk.values), len(ARMS[robot].names))


def path_of(robot, chunk):
    return PosePath(read_plan(chunk, ["arm"], ROBOTS[robot].gripper_names).arms[0], chunk.step)


def errors(robot, path, times, joints):
    """Distances (m) and angles (rad) from the path at ``times`` to where the joints bring it."""
    differences = [
        pose_error(path.pose(time), ARMS[robot].chain.pose_at(row))
        for time, row in zip(times, joints, strict=True)
    ]
    return np.linalg.norm(np.reshape(differences, (-1, 2, 3)), axis=2).T


def check(robot, chunk, solution):
    """What holds of every solution: on the path, in the limits, in order, at rest at the end."""
    arm, path, curve = ARMS[robot], path_of(robot, chunk), curve_of(robot, solution)
    times = np.linspace(0, curve.end, 7 * len(solution.chunk.values))
    rows = np.arange(len(solution.chunk.values)) * solution.chunk.step
    # between rows plan time runs nearly evenly
    wanted = np.interp(times, [*rows, curve.end], [*solution.plan_times, path.end])
    states = np.array([curve.sample(time) for time in times])
    inside = times <= rows[-1]
    distances, angles = errors(robot, path, wanted[inside], states[inside, 0])
    if not solution.limited:
        assert distances.max() < MILLIMETRE
        assert angles.max() < 0.2 * DEGREE
    distances, angles = errors(
        robot, path, solution.plan_times[:-1], solution.chunk.values[:-1, : len(arm.names)]
    )
    assert distances.max() < MILLIMETRE
    assert angles.max() < 0.2 * DEGREE
    last = errors(robot, path, [path.end], [curve.rest])
    assert last[0] < MILLIMETRE and last[1] < 0.2 * DEGREE
    assert np.all(np.diff(solution.plan_times) > 0)
    assert not certify(curve).broken(Limits.from_robot(ROBOTS[robot])).any()
    assert curve.end == pytest.approx(path.end + solution.delay)
    assert (solution.chunk.start, solution.chunk.sequence, solution.chunk.epoch) == (7.0, 4, 2)


def random_path(robot, seed, rows=30, step=1 / 15):
    """Poses of a smooth random motion away from singularities, and where it begins."""
    arm, random = ARMS[robot], np.random.default_rng(seed)
    start = arm.lower + random.uniform(0.2, 0.8, len(arm.names)) * (arm.upper - arm.lower)
    phases = random.uniform(0, 2 * np.pi, len(arm.names))
    times = np.arange(rows)[:, None] * step
    motion = start + 0.2 * (np.sin(1.5 * times + phases) - np.sin(phases))
    singular = min(
        np.linalg.svd(arm.chain.jacobian_at(joints), compute_uv=False)[-1] for joints in motion
    )
    assume(singular > 0.06)
    openings = random.uniform(0, 0.08, rows)
    poses = [arm.chain.pose_at(joints) for joints in motion]
    values = [row_of(pose, opening) for pose, opening in zip(poses, openings, strict=True)]
    return chunk_of(robot, values, step), np.append(start, 0.02)
