# SPDX-License-Identifier: Apache-2.0
"""The `house_simulator` node: a base in a house on the topics of a real base and its camera."""

import sys
from functools import partial

import numpy as np
from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry

from dm0_ros.errors import RobotError
from dm0_ros.navigation.views import View
from dm0_ros.nodes.bases import Frames, make_odometry, make_transform, subscribe_velocities
from dm0_ros.nodes.lifecycle import run_node
from dm0_ros.nodes.parameters import declare
from dm0_ros.nodes.quality import SENSOR
from dm0_ros.nodes.simulation import SimulationNode
from dm0_ros.nodes.stamps import to_seconds
from dm0_ros.sim.house_simulator import HouseSimulator, open_place

_RATE = 50.0  # Hz of odometry, as diff_drive_controller's
_MAP = "map"


class HouseSimulatorNode(SimulationNode):
    """Moves the base, publishes odometry, pictures and transforms; obeys cmd_vel."""

    def __init__(self) -> None:
        super().__init__("house_simulator", "mobile_base")
        base = self.spec.base
        if base is None:
            raise RobotError(f"{self.spec.name}: its YAML has no 'base' section; add one")
        self._wants_depth = declare(self, "depth", True, "Publish depth pictures (32FC1, m)")
        place = open_place(self.world, base.radius)
        self._simulator = HouseSimulator(self.spec, place, self.seed)
        self._odometry = self.create_publisher(Odometry, "odom", SENSOR)
        self._truth = self.create_publisher(Odometry, "simulator/ground_truth", SENSOR)
        self._frames = Frames(self)
        subscribe_velocities(self, base, "cmd_vel", partial(self.take, "cmd_vel", self._obey))
        self.begin(_RATE, self._wants_depth)

    def _obey(self, velocities: np.ndarray) -> None:
        with self.lock:
            self._simulator.command(velocities)

    def advance(self, duration: float) -> None:
        """See `SimulationNode`."""
        self._simulator.step(duration)

    def report(self, stamp: Time) -> None:
        """See `SimulationNode`."""
        now, odometry = to_seconds(stamp), self._simulator.odometry()
        odom, body = self.spec.base.odometry_frame, self.spec.base.frame
        self._odometry.publish(make_odometry(odometry.pose, odometry.twist, now, odom, body))
        self._truth.publish(make_odometry(self._simulator.pose, odometry.twist, now, _MAP, body))
        self._frames.publish(
            make_transform(self._simulator.start, now, _MAP, odom),
            make_transform(odometry.pose, now, odom, body),
        )

    def look(self, slot: str) -> View:
        """See `SimulationNode`."""
        return self._simulator.look(slot, self._wants_depth)

    def restart(self) -> None:
        """See `SimulationNode`."""
        self._simulator.reset()

    def close(self) -> None:
        """See `SimulationNode`."""
        self._simulator.close()


def main() -> int:
    """Run the node until SIGINT or SIGTERM."""
    return run_node(HouseSimulatorNode)


if __name__ == "__main__":
    sys.exit(main())
