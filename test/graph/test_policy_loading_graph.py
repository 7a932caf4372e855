# SPDX-License-Identifier: Apache-2.0
"""A policy that is loaded in vain leaves nothing behind in the node's process."""

import threading

import pytest
import rclpy
from rclpy.lifecycle import TransitionCallbackReturn

from dm0_ros.errors import PlanError
from dm0_ros.nodes.policy import PolicyNode
from dm0_ros.policy.dm0_policy import Dm0Policy

PATIENCE = 60.0  # s


@pytest.fixture
def make_node(own_domain):
    """Makes the node in this process, where its threads can be seen."""
    made = []

    def make(*parameters):
        given = [word for parameter in parameters for word in ("-p", parameter)]
        rclpy.init(args=["--ros-args", "-p", "threads:=1", "-p", "niceness:=0", *given])
        made.append(PolicyNode())
        return made[0]

    yield make
    made[0].destroy_node()
    rclpy.try_shutdown()


def find_threads(name):
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


def fail_to_configure(node, words):
    """Lets `configure` fail, and waits for the end of the thread that it began."""
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert words in node.failure
    for thread in find_threads("network"):
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_what_is_ready_too_late_is_closed(make_node, learnt_checkpoint):
    node = make_node(f"checkpoint:={learnt_checkpoint}", "load_timeout:=0.01")
    fail_to_configure(node, "raise load_timeout")
    assert not find_threads("reasoning")


def test_what_cannot_be_warmed_up_is_closed(make_node, learnt_checkpoint, monkeypatch):
    def fail(*_arguments):
        assert find_threads("reasoning")
        raise PlanError("the numbers are not finite")

    monkeypatch.setattr(Dm0Policy, "_plan", fail)
    fail_to_configure(make_node(f"checkpoint:={learnt_checkpoint}"), "are not finite")
    assert not find_threads("reasoning")
