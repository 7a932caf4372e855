# SPDX-License-Identifier: Apache-2.0
"""How the policy node reasons: its parameters, and what it tells of the thoughts."""

from functools import partial

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from dm0_ros.errors import Dm0Error
from dm0_ros.msg import SpatialScaffold
from dm0_ros.nodes.diagnostics import PlanDiagnostics
from dm0_ros.nodes.messages import message_from_thought
from dm0_ros.nodes.parameters import declare
from dm0_ros.nodes.quality import COMMAND
from dm0_ros.policy.reasoning import ReasoningOptions, Thought, choose_mode
from dm0_ros.policy.settings import PolicySettings
from dm0_ros.scaffold.levels import Level


def declare_reasoning(node: Node) -> None:
    """Declare the parameters that `read_reasoning` reads."""
    fixed = partial(declare, node, read_only=True)
    words = "Text before actions: off, every_plan, asynchronous; empty: asynchronous if it can"
    # YAML reads a bare `off` as false, so the type is not fixed.
    descriptor = ParameterDescriptor(description=words, read_only=True, dynamic_typing=True)
    node.declare_parameter("reasoning", "", descriptor)
    fixed("reasoning_level", "", "How far: subtask, box, trajectory, action; empty: all it has")
    fixed("reasoning_period", 1.0, "Least time between asynchronous texts (s)", (0.01, 3600.0))
    fixed("reasoning_age", 5.0, "Oldest text that a plan takes (s)", (0.01, 3600.0))
    fixed("reasoning_time", 10.0, "Longest time for a text (s)", (0.01, 3600.0))
    fixed(
        "temperature", 0.0, "That the text's tokens are drawn at; 0: the likeliest", (0.0, 100.0)
    )


class Reasoning:
    """Publishes thoughts on `scaffold`, from whatever thread has them."""

    def __init__(self, node: Node, diagnostics: PlanDiagnostics) -> None:
        self._node, self._diagnostics = node, diagnostics
        self.frames: dict[str, str] = {}  # by camera slot: frame_id of its pictures
        self._publisher = node.create_lifecycle_publisher(SpatialScaffold, "scaffold", COMMAND)

    def read_options(self, settings: PolicySettings) -> ReasoningOptions:
        """What the parameters say for a checkpoint; raises `Dm0Error` where they do not fit."""

        def value(name: str):
            return self._node.get_parameter(name).value

        mode = value("reasoning")
        return ReasoningOptions(
            mode=choose_mode("off" if mode is False else str(mode), settings),
            level=_read_level(value("reasoning_level")),
            period=value("reasoning_period"),
            max_age=value("reasoning_age"),
            seconds=value("reasoning_time"),
            temperature=value("temperature"),
            listen=self.tell,
        )

    def tell(self, thought: Thought) -> None:
        """Publish a thought; one that was refused with the reason."""
        self._diagnostics.add_thought(thought)
        frame = self.frames.get(thought.view, "")
        self._publisher.publish(message_from_thought(thought, frame))
        if not thought.valid:
            self._node.get_logger().warning(
                f"a text was refused: {thought.rejection}", throttle_duration_sec=5.0
            )

    def destroy(self) -> None:
        """Take the topic off the graph; no thread may have thoughts any more."""
        self._node.destroy_publisher(self._publisher)


def _read_level(name: str) -> Level | None:
    known = [level.value for level in Level]
    if name and name not in known:
        raise Dm0Error(f"reasoning_level is '{name}'; choose one of {', '.join(known)}")
    return Level(name) if name else None
