# SPDX-License-Identifier: Apache-2.0
"""What the policy node tells recorders: which messages each plan was made of, and by what."""

from rclpy.node import Node
from std_msgs.msg import String

from dm0_ros.nodes.quality import COMMAND, STATUS
from dm0_ros.policy.registry import find_checkpoint
from dm0_ros.policy.trace import (
    FACTS_TOPIC,
    TRACE_TOPIC,
    Facts,
    Sight,
    Trace,
    digest_checkpoint,
    digest_robot,
    find_commit,
    find_version,
)
from dm0_ros.robots.spec import RobotSpec


class Tracing:
    """Publishes on `policy_trace` with every plan, and on `policy_facts` once, for all time."""

    def __init__(self, node: Node, facts: Facts) -> None:
        self._node = node
        self._traces = node.create_publisher(String, TRACE_TOPIC, COMMAND)
        self._facts = node.create_publisher(String, FACTS_TOPIC, STATUS)
        self._facts.publish(String(data=facts.dump()))

    def tell(self, sight: Sight) -> None:
        """A plan was published."""
        self._traces.publish(String(data=Trace.of(sight).dump()))

    def destroy(self) -> None:
        """Take the topics off the graph."""
        self._node.destroy_publisher(self._traces)
        self._node.destroy_publisher(self._facts)


def collect_facts(
    node: Node, robot: RobotSpec, policy: str, reasoning: str, threads: int
) -> Facts:
    """What the parameters say of a policy that is loaded; ``reasoning`` and ``threads`` as used.

    Reads the whole checkpoint: a second for each gigabyte, or two.
    """

    def value(name: str):
        return node.get_parameter(name).value

    checkpoint = value("checkpoint")
    same = ("robot", "simulated", "seed", "device", "dtype", "guidance", "compiled", "fp8")
    return Facts(
        robot_digest=digest_robot(robot),
        checkpoint=checkpoint,
        checkpoint_digest=digest_checkpoint(find_checkpoint(checkpoint, robot.name).folder),
        policy=policy,
        threads=threads,
        reasoning=reasoning,
        reasoning_level=value("reasoning_level"),
        temperature=value("temperature"),
        compressed=value("compressed"),
        version=find_version(),
        commit=find_commit(),
        **{name: value(name) for name in same},
    )
