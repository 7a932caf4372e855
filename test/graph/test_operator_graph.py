# SPDX-License-Identifier: Apache-2.0
"""The operator against a real simulator and executor; a perfect hand stands in for the policy."""

import threading

import numpy as np
import pytest
import rclpy
from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from dm0_ros.action import ExecuteInstruction
from dm0_ros.commands.trial import judge
from dm0_ros.errors import Dm0Error
from dm0_ros.nodes import operator as operator_module
from dm0_ros.nodes.operator import Operator
from dm0_ros.nodes.quality import COMMAND, SENSOR
from dm0_ros.robots.inverse import solve
from dm0_ros.robots.kinematics import Chain, load_urdf
from dm0_ros.robots.loading import load_robot
from dm0_ros.sim.simulator import Simulator
from dm0_ros.sim.tasks import Task

SPEC = load_robot("franka")
SEED = 5
HEIGHTS = (0.12, 0.01)  # m above the block: beside the others, then onto it


class Hand:
    """Serves instructions of one word, the block to go to; knows where every block is."""

    def __init__(self):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("hand", context=self.context)
        self.twin = Simulator(SPEC, seed=SEED)
        arm = SPEC.end_effectors[0]
        self.tool = Chain(load_urdf(SPEC), arm.base, arm.tool)
        self.found = {}
        self.node.create_subscription(JointState, "joint_states", self.take, SENSOR)
        self.arm = self.node.create_publisher(Float64MultiArray, SPEC.sinks[0].topic, COMMAND)
        self.server = ActionServer(
            self.node,
            ExecuteInstruction,
            "execute_instruction",
            self.execute,
            cancel_callback=lambda handle: CancelResponse.ACCEPT,
            callback_group=ReentrantCallbackGroup(),
        )
        self.executor = MultiThreadedExecutor(3, context=self.context)
        self.executor.add_node(self.node)
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        while not self.ending.is_set():
            self.executor.spin_once(timeout_sec=0.1)

    def take(self, message):
        self.found = dict(zip(message.name, message.position, strict=True))

    def plan(self, block):
        for height in HEIGHTS:
            pose = self.tool.pose(SPEC.home)
            pose[:3, 3] = self.twin.object_pose(block)[:3] + np.array([0.0, 0.0, height])
            yield solve(self.tool, SPEC.joints, pose, SPEC.home)

    def execute(self, handle):
        for target in self.plan(handle.request.instruction):
            values = [target[name] for name in SPEC.sinks[0].names]
            while not self.reached(target) and not handle.is_cancel_requested:
                self.arm.publish(Float64MultiArray(data=values))
                self.ending.wait(0.05)
        while not handle.is_cancel_requested and not self.ending.wait(0.05):
            pass
        handle.canceled()
        return ExecuteInstruction.Result(
            outcome=ExecuteInstruction.Result.CANCELLED, message="as you wish", plans=7
        )

    def reached(self, target):
        # Joint states may not have come yet, or only some.
        if not target.keys() <= self.found.keys():
            return False
        return all(abs(self.found[name] - value) < 0.02 for name, value in target.items())

    def close(self):
        self.ending.set()
        self.thread.join()
        self.executor.shutdown()
        self.server.destroy()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def hand(own_domain):
    hand = Hand()
    yield hand
    hand.close()


@pytest.fixture
def operator(own_domain):
    client = Operator()
    yield client
    client.close()


def test_touches_are_seen_and_goals_cancelled(graph, hand, operator):
    graph.start("simulator", f"seed:={SEED}")
    graph.start("executor", "autostart:=true")
    absent = {"policy", "overlay", "recorder"}  # no lifecycle node serves in this test
    assert operator.wait(lambda: set(operator.missing(("/joint_states",))) == absent, 60.0)

    for named, goes_to in (("green", "green"), ("red", "blue")):
        operator.reset()
        hand.twin.reset()
        attempt = operator.attempt(goes_to, time_limit=60.0)
        assert attempt.touched[0] == goes_to
        assert attempt.started < attempt.touch_time <= attempt.ended
        assert (attempt.outcome, attempt.message, attempt.plans) == ("cancelled", "as you wish", 7)
        episode = judge(Task(named, goes_to), attempt, 60.0)
        assert episode.success == (named == goes_to)
        assert episode.seconds == pytest.approx(attempt.touch_time - attempt.started)


def test_what_is_not_there_is_named(operator, monkeypatch):
    monkeypatch.setattr(operator_module, "_ANSWER_TIME", 0.5)
    missing = operator.missing(("/joint_states",))
    assert set(missing) == {"simulator", "executor", "policy", "overlay", "recorder"}
    assert "unreachable" in missing["policy"]
    assert "/joint_states" in missing["recorder"]
    with pytest.raises(Dm0Error, match="executor: its service"):
        operator.reset()
    with pytest.raises(Dm0Error, match="no answer from the action execute_instruction"):
        operator.attempt("touch the red block", 1.0)
