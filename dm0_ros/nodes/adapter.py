# SPDX-License-Identifier: Apache-2.0
"""The `adapter` node: between the executor and drivers that are not ros2_control's.

Takes the commands of the robot's ``forward_position`` sinks, tells each driver its part in its own
names, numbers and messages, and publishes what the drivers report as ``joint_states``.
"""

import math
import sys
from collections.abc import Callable, Mapping
from functools import partial

from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from dm0_ros.errors import RobotError
from dm0_ros.nodes.adapters import make_driver
from dm0_ros.nodes.lifecycle import run_node
from dm0_ros.nodes.parameters import declare
from dm0_ros.nodes.quality import COMMAND, SENSOR
from dm0_ros.robots.adapter import Adapter, Translation
from dm0_ros.robots.loading import load_robot
from dm0_ros.robots.spec import Sink, SinkKind


class AdapterNode(Node):
    """Raises `RobotError` where the robot needs no adapter, or a driver's interfaces lack."""

    def __init__(self) -> None:
        super().__init__("adapter")
        robot = declare(
            self, "robot", "franka", "Robot: a name in config/, or a YAML", read_only=True
        )
        self._spec = load_robot(robot)
        if not self._spec.adapters:
            raise RobotError(
                f"{robot}: its YAML has no 'adapters' section, so it needs no adapter"
            )
        self._wanted: dict[str, float] = {}  # rad and metres of opening, by our names
        self._drivers: list[tuple[str, Callable[[], None]]] = []  # told when a topic speaks
        self._states = self.create_publisher(JointState, "joint_states", SENSOR)
        sinks = [s for s in self._spec.sinks if s.kind is SinkKind.FORWARD_POSITION]
        for adapter in self._spec.adapters:
            self._connect(adapter, sinks)
        for sink in sinks:
            self.create_subscription(
                Float64MultiArray, sink.topic, partial(self._note, sink), COMMAND
            )
        kinds = {adapter.kind.value for adapter in self._spec.adapters}
        self.get_logger().info(f"between {self._spec.title} and {', '.join(sorted(kinds))}")

    def _connect(self, adapter: Adapter, sinks: list[Sink]) -> None:
        """Wire one driver. It is told when the sink that has its last name speaks."""
        translation = Translation(adapter, self._spec.grippers)
        driver = make_driver(self, adapter, partial(self._report, translation))
        if not adapter.commands:
            return
        commanded = {name: sink for sink in sinks for name in sink.names}
        missing = [name for name in adapter.names if name not in commanded]
        if missing:
            raise RobotError(
                f"the adapter for {adapter.commands} needs a forward_position sink for "
                f"{', '.join(missing)}; add it to the robot's sinks"
            )
        tell = partial(self._tell, adapter, translation, driver)
        self._drivers.append((commanded[adapter.names[-1]].topic, tell))

    def _note(self, sink: Sink, message: Float64MultiArray) -> None:
        values = list(message.data)
        if len(values) != len(sink.names) or not all(map(math.isfinite, values)):
            self.get_logger().error(
                f"{sink.topic}: not passed on: needs {len(sink.names)} finite numbers: {values}",
                throttle_duration_sec=1.0,
            )
            return
        self._wanted.update(zip(sink.names, values, strict=True))
        for topic, tell in self._drivers:
            if topic == sink.topic:
                tell()

    def _tell(self, adapter: Adapter, translation: Translation, driver) -> None:
        # a driver may take what is not named for zero: nothing before all of it is known
        if all(name in self._wanted for name in adapter.names):
            driver.send(translation.to_driver(self._wanted))

    def _report(self, translation: Translation, values: Mapping[str, float]) -> None:
        """Publish what a driver reports, stamped now: not every driver stamps by this clock."""
        positions = translation.from_driver(values)
        if not positions:
            return
        message = JointState(name=list(positions), position=list(positions.values()))
        message.header.stamp = self.get_clock().now().to_msg()
        self._states.publish(message)


def main(arguments: list[str] | None = None) -> int:
    """Run the node; returns the exit status."""
    return run_node(AdapterNode, arguments)


if __name__ == "__main__":
    sys.exit(main())
