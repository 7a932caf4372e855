# SPDX-License-Identifier: Apache-2.0
"""The `simulator` node: a MuJoCo world on the topics that a real robot and its cameras have."""

import sys
from functools import partial

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from dm0_ros.errors import RobotError
from dm0_ros.msg import SimulatorOutcome
from dm0_ros.navigation.views import View
from dm0_ros.nodes.lifecycle import run_node
from dm0_ros.nodes.parameters import declare
from dm0_ros.nodes.quality import COMMAND, SENSOR, STATUS
from dm0_ros.nodes.simulation import SimulationNode
from dm0_ros.nodes.stamps import to_seconds
from dm0_ros.robots.spec import Sink, SinkKind
from dm0_ros.sim.live import CommandBuffer, Trajectory
from dm0_ros.sim.simulator import Simulator
from dm0_ros.sim.world import load_world

# Where ros2_control's trajectory controller listens; used whatever sinks the YAML names.
_TRAJECTORY_TOPIC = "joint_trajectory_controller/joint_trajectory"


class SimulatorNode(SimulationNode):
    """Steps the world, publishes what it looks like, obeys the sinks of the robot's YAML."""

    def __init__(self) -> None:
        super().__init__("simulator", "franka")
        task = declare(self, "task", "", "Task of that world; empty: its first")
        self._simulator = Simulator(self.spec, load_world(self.world), self.seed, task)
        self._commands = CommandBuffer(self.spec.column_names)
        self._told = 0  # outcomes published in this episode
        self._states = self.create_publisher(JointState, "joint_states", SENSOR)
        self._outcomes = self.create_publisher(SimulatorOutcome, "simulator/outcome", STATUS)
        self._tell_outcome(self.stamp())
        self._subscribe()
        self.begin(self.spec.executor.rate)

    def _subscribe(self) -> None:
        topics = {sink.topic: sink for sink in self.spec.sinks}
        trajectory = Sink(SinkKind.JOINT_TRAJECTORY, _TRAJECTORY_TOPIC, self.spec.column_names)
        for sink in (*topics.values(), *([] if _TRAJECTORY_TOPIC in topics else [trajectory])):
            if sink.kind is SinkKind.FORWARD_POSITION:
                kind, obey = Float64MultiArray, partial(self._obey_positions, sink)
            elif sink.kind is SinkKind.JOINT_TRAJECTORY:
                kind, obey = JointTrajectory, self._obey_trajectory
            else:
                raise RobotError(
                    f"sink {sink.topic}: the simulator does not take {sink.kind.value}; use "
                    "forward_position or joint_trajectory"
                )
            callback = partial(self.take, sink.topic, obey)
            self.create_subscription(kind, sink.topic, callback, COMMAND)

    def _obey_positions(self, sink: Sink, message: Float64MultiArray) -> None:
        if len(message.data) != len(sink.names):
            raise RobotError(
                f"{len(message.data)} values for {len(sink.names)} joints {', '.join(sink.names)}"
            )
        self._commands.set(sink.names, message.data)

    def _obey_trajectory(self, message: JointTrajectory) -> None:
        names = tuple(message.joint_names)
        counts = {len(point.positions) for point in message.points}
        if counts - {len(names)}:
            raise RobotError(f"points must have {len(names)} positions, one per joint name")
        times = np.array([to_seconds(point.time_from_start) for point in message.points])
        values = np.array([point.positions for point in message.points], dtype=float)
        trajectory = Trajectory(names, times, values.reshape(len(times), len(names)))
        unknown = sorted(set(names) - set(self.spec.column_names))
        if unknown:
            raise RobotError(f"trajectory for unknown joint {', '.join(unknown)}")
        with self.lock:
            now, measured = self._simulator.time, self._simulator.measured()
        delay = to_seconds(message.header.stamp)
        # A stamp of zero means now, as for every trajectory controller.
        begins = now + (delay - to_seconds(self.stamp()) if delay else 0.0)
        self._commands.follow(trajectory, begins, [measured[name] for name in names])

    def advance(self, duration: float) -> None:
        """See `SimulationNode`."""
        targets = self._commands.targets(self._simulator.time)
        self._simulator.command(tuple(targets), tuple(targets.values()))
        self._simulator.step(duration)

    def report(self, stamp: Time) -> None:
        """See `SimulationNode`."""
        if len(self._simulator.outcomes) != self._told:
            self._tell_outcome(stamp)
        state = self._simulator.joint_state()
        message = JointState(name=list(state.names))
        message.header.stamp = stamp
        message.header.frame_id = self.spec.end_effectors[0].base
        message.position = state.positions.tolist()
        message.velocity = state.velocities.tolist()
        self._states.publish(message)

    def look(self, slot: str) -> View:
        """See `SimulationNode`."""
        return View(self._simulator.render(slot), None)

    def restart(self) -> None:
        """See `SimulationNode`."""
        self._commands.clear()
        self._simulator.reset()
        self._tell_outcome(self.stamp())

    def close(self) -> None:
        """See `SimulationNode`."""
        self._simulator.close()

    def _tell_outcome(self, stamp: Time) -> None:
        outcomes = self._simulator.outcomes
        self._told = len(outcomes)
        message = SimulatorOutcome(episode=self.episode)
        message.header.stamp = stamp
        message.names = [outcome.name for outcome in outcomes]
        message.seconds = [outcome.time for outcome in outcomes]
        self._outcomes.publish(message)


def main() -> int:
    """Run the node until SIGINT or SIGTERM."""
    return run_node(SimulatorNode)


if __name__ == "__main__":
    sys.exit(main())
