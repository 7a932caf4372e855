# SPDX-License-Identifier: Apache-2.0
"""Every shipped arm in simulation: it holds, it follows, it sees, and its fingers hold a block."""

import dataclasses

import numpy as np
import pytest

from dm0_ros.robots import load_robot
from dm0_ros.robots.inverse import solve
from dm0_ros.robots.kinematics import Chain, load_urdf
from dm0_ros.sim.simulator import Simulator
from dm0_ros.sim.world import load_world

# robot -> the places (x, y) where a block is within reach of each arm
ARMS = {
    "franka": {"arm": (0.45, 0.05)},
    "panda": {"arm": (0.45, 0.05)},
    "ur5": {"arm": (-0.48, 0.05)},
    "ur5e": {"arm": (-0.48, 0.05)},
    "arx5": {"arm": (0.36, 0.05)},
    "arx5_l5": {"arm": (0.36, 0.05)},
    "aloha": {"left": (0.32, 0.25), "right": (0.32, -0.25)},
    "aloha_viperx": {"left": (0.05, 0.15), "right": (0.05, -0.15)},
}
HALF_BLOCK = 0.025  # m


@pytest.fixture(scope="module", params=ARMS)
def simulator(request):
    spec = load_robot(request.param)
    world = load_world(spec.simulation.world)
    simulator = Simulator(spec, dataclasses.replace(world, objects=world.objects[:1]))
    yield simulator
    simulator.close()


def test_the_arm_holds_its_home(simulator):
    simulator.reset(seed=0)
    simulator.step(1.0)
    measured = simulator.measured()
    for name, value in simulator.spec.home.items():
        assert measured[name] == pytest.approx(value, abs=2e-3), name
    assert simulator.touches == []


def test_every_joint_follows_its_own_command(simulator):
    simulator.reset(seed=0)
    spec = simulator.spec
    wanted = {
        joint.name: spec.home[joint.name]
        + (0.1 if joint.upper > spec.home[joint.name] + 0.1 else -0.1)
        for joint in spec.joints
    }
    wanted |= {gripper.name: gripper.open for gripper in spec.grippers}
    simulator.command(tuple(wanted), tuple(wanted.values()))
    simulator.step(2.0)
    measured = simulator.measured()
    for name, value in wanted.items():
        assert measured[name] == pytest.approx(value, abs=5e-3), name


def test_every_camera_shows_the_arm_or_the_table(simulator):
    simulator.reset(seed=1)
    for slot, camera in simulator.spec.simulation.cameras.items():
        picture = simulator.render(slot)
        assert picture.shape == (camera.height, camera.width, 3)
        assert picture.std() > 10  # neither dark nor all sky


def test_fingers_lift_a_block_and_keep_it(simulator):
    """Down over the block, close, up, wait; with the orientation that the hand has at home."""
    for end in simulator.spec.end_effectors:
        spot = ARMS[simulator.spec.name][end.name]
        hand = Hand(simulator, end, spot)
        hand.go(0.15, hand.gripper.open)
        hand.go(HALF_BLOCK, hand.gripper.open)
        before = hand.block()
        assert simulator.touches == [], "the open fingers are beside the block"
        hand.go(HALF_BLOCK, 2 * HALF_BLOCK - 0.02)
        hand.swing(0.12)
        lifted = hand.block()
        simulator.step(2.0)
        assert lifted[2] - before[2] > 0.088  # of 0.095
        np.testing.assert_allclose(hand.block()[:3], lifted[:3], atol=2e-3)


class Hand:
    """One arm over a block."""

    def __init__(self, simulator, end, spot):
        self.simulator, self.spot = simulator, spot
        simulator.arrange(np.array([[*spot, 0.0]]), simulator.spec.home)
        self.chain = Chain(load_urdf(simulator.spec), end.base, end.tool)
        known = {joint.name: joint for joint in simulator.spec.joints}
        self.joints = tuple(known[name] for name in self.chain.joint_names)
        grippers = simulator.spec.grippers
        (self.gripper,) = [g for g in grippers if len(grippers) == 1 or end.name in g.name]
        body = simulator.data.body(end.base)
        self.base = np.eye(4)
        self.base[:3, :3], self.base[:3, 3] = body.xmat.reshape(3, 3), body.xpos
        self.positions, self.height = dict(simulator.spec.home), 0.15

    def go(self, height, opening):
        """Bring the tool to ``height`` (m) over the table in a straight line, above the block."""
        self.simulator.command([self.gripper.name], [opening])
        for waypoint in np.linspace(self.height, height, 30):
            self.positions.update(self.reach(waypoint))
            self.follow(0.04)
        self.height = height
        self.simulator.step(0.5)

    def swing(self, height):
        """Bring the tool there by joints that go straight, so that the hand tilts on the way."""
        start, end = dict(self.positions), self.reach(height)
        for part in np.linspace(0.0, 1.0, 40):
            self.positions.update({n: start[n] + part * (end[n] - start[n]) for n in end})
            self.follow(0.04)
        self.height = height
        self.simulator.step(0.5)

    def follow(self, duration):
        values = [self.positions[name] for name in self.chain.joint_names]
        self.simulator.command(self.chain.joint_names, values)
        self.simulator.step(duration)

    def reach(self, height):
        """Joint positions by name, with the orientation that the hand has at home."""
        target = np.eye(4)
        target[:3, 3] = [*self.spot, self.simulator.world.table.top + height]
        target = np.linalg.inv(self.base) @ target
        target[:3, :3] = self.chain.pose(self.simulator.spec.home)[:3, :3]
        return solve(self.chain, self.joints, target, self.positions)

    def block(self):
        return self.simulator.object_pose(self.simulator.world.object_names[0])
