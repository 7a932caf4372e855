# SPDX-License-Identifier: Apache-2.0
"""A real policy that dies in mid-plan, over a simulated arm, and one that takes its place."""

import signal

import numpy as np
import pytest
from cell import ARM, EVERY_COMMAND, check_path
from instructing import Client
from std_msgs.msg import Float64MultiArray

from dm0_ros.msg import ActionChunk, ExecutorStatus
from dm0_ros.nodes.quality import COMMAND, STATUS

# It goes on until it is told to end, and does not overrun two cores that others need.
POLICY = ("autostart:=true", "checkpoint:=nano-franka", "threads:=1", "period:=0.4")
RESTLESS = ("rest_distance:=0.0", "progress_threshold:=1.0")


class Demo:
    """Simulator, executor and policy as in the demo, and what passes between them."""

    def __init__(self, graph):
        self.graph = graph
        graph.start("simulator", "camera_rate:=8.0")
        graph.start("executor", "autostart:=true")
        self.status = graph.collect(ExecutorStatus, "executor_status", STATUS)
        self.plans = graph.collect(ActionChunk, "action_chunk", COMMAND)
        self.path = []
        graph.node.create_subscription(
            Float64MultiArray, ARM.topic, lambda m: self.path.append(m.data), EVERY_COMMAND
        )

    def start_policy(self):
        """The process, once it is ready for an instruction."""
        policy = self.graph.start("policy", *POLICY, *RESTLESS)
        self.graph.wait(lambda: "is ready: pictures from" in policy.output, "the policy")
        return policy

    def wait_state(self, state, reason=""):
        self.graph.wait(
            lambda: (
                self.status and self.status[-1].state == state and reason in self.status[-1].reason
            ),
            f"state {state} {reason}",
        )

    def wait_commands(self, count):
        wanted = len(self.path) + count
        self.graph.wait(lambda: len(self.path) >= wanted, f"{wanted} commands")

    def wait_motion(self):
        """Until the arm is well on its way, with plan left."""
        begin = self.path[-1] if self.path else None
        self.wait_state(ExecutorStatus.EXECUTING)
        self.wait_commands(1)
        begin = np.array(self.path[-1] if begin is None else begin)
        self.graph.wait(
            lambda: (
                np.abs(np.array(self.path[-1]) - begin).max() > 0.05
                and self.status[-1].state == ExecutorStatus.EXECUTING
                and self.status[-1].time_left > 0.3
            ),
            "the arm to move",
        )


@pytest.mark.slow
def test_a_policy_killed_in_mid_plan_and_started_anew_moves_only_when_told(graph):
    demo = Demo(graph)
    policy = demo.start_policy()
    assert Client(graph).send().accepted
    demo.wait_motion()
    assert policy.end(signal.SIGKILL) == -signal.SIGKILL
    demo.wait_state(ExecutorStatus.STARVED)
    demo.wait_state(ExecutorStatus.HOLD, "ran out and no newer one came")
    assert not demo.status[-1].needs_reset
    held, last = demo.path[-1], demo.status[-1].sequence
    assert last >= 1

    demo.start_policy()
    client = Client(graph)
    sent = len(demo.plans)
    demo.wait_commands(200)
    assert len(demo.plans) == sent, "it plans without an instruction"
    assert demo.status[-1].state == ExecutorStatus.HOLD and demo.path[-1] == held

    assert client.send("touch the blue block").accepted
    demo.wait_motion()
    # from 1 on they would all count as older than those of the one that was killed
    assert demo.plans[sent].sequence > last
    check_path(np.array(demo.path))
