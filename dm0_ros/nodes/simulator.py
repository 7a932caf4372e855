# SPDX-License-Identifier: Apache-2.0
"""The `simulator` node: a MuJoCo world on the topics that a real robot and its cameras have.

Physics and pictures share one thread, paced by the monotonic clock, because an EGL context belongs
to one thread; cameras take turns, so that physics waits for one picture at most.
"""

import sys
import threading
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from dm0_ros.errors import Dm0Error, RobotError
from dm0_ros.msg import SimulatorOutcome
from dm0_ros.nodes.lifecycle import run_node
from dm0_ros.nodes.pacing import Pacer
from dm0_ros.nodes.parameters import declare
from dm0_ros.nodes.pictures import compressed_from_picture, image_from_picture
from dm0_ros.nodes.quality import COMMAND, SENSOR, STATUS
from dm0_ros.nodes.stamps import to_seconds, to_time
from dm0_ros.robots.loading import load_robot
from dm0_ros.robots.spec import Sink, SinkKind
from dm0_ros.sim.live import CameraTurns, CommandBuffer, Trajectory
from dm0_ros.sim.simulator import Simulator
from dm0_ros.sim.world import load_world

# Where ros2_control's trajectory controller listens; used whatever sinks the YAML names.
_TRAJECTORY_TOPIC = "joint_trajectory_controller/joint_trajectory"
_REPORT_PERIOD = 1.0  # s between looks at the physics thread
_PATIENCE = 0.25  # s of delay that one tick makes up for
_END_TIMEOUT = 5.0  # s


class SimulatorNode(Node):
    """Steps the world, publishes what it looks like, obeys the sinks of the robot's YAML."""

    def __init__(self) -> None:
        super().__init__("simulator")
        self._read_parameters()
        self._lock = threading.Lock()  # held by whoever touches the simulator
        self._simulator = Simulator(self._spec, self._world, self._seed, self._task)
        self._commands = CommandBuffer(self._spec.column_names)
        self._turns = CameraTurns(list(self._spec.simulation.cameras), self._camera_rate)
        self._simulated = 0.0  # s of simulated time since the start, over all resets
        self._deadline: float | None = None  # of the tick before
        self._episode = 1
        self._complaints: dict[str, str] = {}  # topic -> what was wrong with its last command
        self._told = 0  # outcomes published in this episode
        self._make_publishers()
        self._subscribe()
        self.create_service(Trigger, "~/reset", self._reset)
        self.create_timer(_REPORT_PERIOD, self._watch)
        self._tell_outcome(self._stamp())
        self._ending, self._ended = threading.Event(), threading.Event()
        self._failure: Exception | None = None
        self._lost = 0.0  # s that were not simulated because this machine was too slow
        self._lost_told = 0.0  # s of these that were logged
        self._pacer = Pacer(self._spec.executor.rate, self._step, self._break_down)
        self._pacer.start()
        self.get_logger().info(
            f"simulating {self._spec.title} in world '{self._world.name}', seed {self._seed}"
        )

    def stop(self) -> None:
        """End the physics thread, which closes the cameras that it opened."""
        self._ending.set()
        self._ended.wait(_END_TIMEOUT)
        self._pacer.stop()

    def _read_parameters(self) -> None:
        robot = declare(
            self, "robot", "franka", "Robot: a name in config/, or a YAML", read_only=True
        )
        self._spec = load_robot(robot)
        if self._spec.simulation is None:
            raise RobotError(f"{robot}: its YAML has no 'simulation' section; add one")
        world = declare(self, "world", "", "World in config/worlds/; empty: the robot's own")
        self._world = load_world(world or self._spec.simulation.world)
        self._task = declare(self, "task", "", "Task of that world; empty: its first")
        self._seed = declare(self, "seed", 0, "Seed of the sequence of scenes", (0, 2**31 - 1))
        own = self._spec.simulation.camera_rate
        self._camera_rate = declare(
            self, "camera_rate", own, "Pictures a second, each camera (Hz)", (0.1, 120.0)
        )
        self._compressed = declare(
            self, "compressed", False, "Publish JPEG instead of raw pictures"
        )
        self._quality = declare(self, "jpeg_quality", 90, "Quality of the JPEG pictures", (1, 100))
        self._publishes_clock = declare(
            self, "publish_clock", False, "Publish simulated time on /clock and use it for stamps"
        )

    def _make_publishers(self) -> None:
        self._states = self.create_publisher(JointState, "joint_states", SENSOR)
        kind, ending = (
            (CompressedImage, "compressed") if self._compressed else (Image, "image_raw")
        )
        self._pictures = {
            slot: self.create_publisher(kind, f"camera/{slot}/{ending}", SENSOR)
            for slot in self._spec.simulation.cameras
        }
        self._outcomes = self.create_publisher(SimulatorOutcome, "simulator/outcome", STATUS)
        self._clocks = (
            self.create_publisher(Clock, "/clock", SENSOR) if self._publishes_clock else None
        )

    def _subscribe(self) -> None:
        topics = {sink.topic: sink for sink in self._spec.sinks}
        trajectory = Sink(SinkKind.JOINT_TRAJECTORY, _TRAJECTORY_TOPIC, self._spec.column_names)
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
            callback = partial(self._take, sink.topic, obey)
            self.create_subscription(kind, sink.topic, callback, COMMAND)

    def _take(self, topic: str, obey: Callable, message) -> None:
        try:
            obey(message)
        except RobotError as error:
            # Commands come a hundred times a second: the same sentence is said once.
            if self._complaints.get(topic) != str(error):
                self.get_logger().error(f"{topic}: {error}")
            self._complaints[topic] = str(error)
        else:
            self._complaints.pop(topic, None)

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
        unknown = sorted(set(names) - set(self._spec.column_names))
        if unknown:
            raise RobotError(f"trajectory for unknown joint {', '.join(unknown)}")
        with self._lock:
            now, measured = self._simulator.time, self._simulator.measured()
        delay = to_seconds(message.header.stamp)
        # A stamp of zero means now, as for every trajectory controller.
        begins = now + (delay - self._now() if delay else 0.0)
        self._commands.follow(trajectory, begins, [measured[name] for name in names])

    def _step(self, deadline: float) -> None:
        """One tick of the physics thread."""
        if self._ending.is_set():
            if not self._ended.is_set():
                self._simulator.close()
                self._ended.set()
            return
        if self._deadline is None:
            self._open_cameras()
            self._deadline = time.monotonic()
            return
        passed, self._deadline = max(deadline - self._deadline, 0.0), max(deadline, self._deadline)
        self._lost += max(passed - _PATIENCE, 0.0)
        with self._lock:
            slot, picture, state, stamp = self._advance(min(passed, _PATIENCE))
        if self._clocks:
            self._clocks.publish(Clock(clock=stamp))
        self._publish_state(state, stamp)
        if slot:
            self._publish_picture(slot, picture, stamp)

    def _open_cameras(self) -> None:
        """The first picture of a camera takes many times longer than the rest."""
        for slot in self._spec.simulation.cameras:
            self._simulator.render(slot)

    def _advance(self, duration: float):
        targets = self._commands.targets(self._simulator.time)
        self._simulator.command(tuple(targets), tuple(targets.values()))
        self._simulator.step(duration)
        self._simulated += duration
        stamp = self._stamp()
        state = self._simulator.joint_state()
        if len(self._simulator.outcomes) != self._told:
            self._tell_outcome(stamp)
        slot = self._turns.due(self._simulated)
        return slot, self._simulator.render(slot) if slot else None, state, stamp

    def _publish_state(self, state, stamp: Time) -> None:
        message = JointState(name=list(state.names))
        message.header.stamp = stamp
        message.header.frame_id = self._spec.end_effectors[0].base
        message.position = state.positions.tolist()
        message.velocity = state.velocities.tolist()
        self._states.publish(message)

    def _publish_picture(self, slot: str, picture: np.ndarray, stamp: Time) -> None:
        if self._compressed:
            message = compressed_from_picture(picture, self._quality)
        else:
            message = image_from_picture(picture)
        message.header.stamp = stamp
        message.header.frame_id = f"camera_{slot}_optical"
        self._pictures[slot].publish(message)

    def _tell_outcome(self, stamp: Time) -> None:
        outcomes = self._simulator.outcomes
        self._told = len(outcomes)
        message = SimulatorOutcome(episode=self._episode)
        message.header.stamp = stamp
        message.names = [outcome.name for outcome in outcomes]
        message.seconds = [outcome.time for outcome in outcomes]
        self._outcomes.publish(message)

    def _reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self._lock:
            self._commands.clear()
            self._simulator.reset()
            self._episode += 1
            self._tell_outcome(self._stamp())
        response.success = True
        response.message = f"scene {self._episode} of seed {self._seed}"
        self.get_logger().info(f"reset: {response.message}")
        return response

    def _now(self) -> float:
        return to_seconds(self._stamp())

    def _stamp(self) -> Time:
        if self._publishes_clock:
            return to_time(self._simulated)
        return self.get_clock().now().to_msg()

    def _break_down(self, error: Exception) -> None:
        self._failure = error
        self._ended.set()

    def _watch(self) -> None:
        if self._failure:
            raise Dm0Error(f"the physics thread ended: {self._failure!r}") from self._failure
        if self._lost > self._lost_told:
            self._lost_told = self._lost
            self.get_logger().warning(
                f"this machine is too slow: {self._lost:.2f} s were not simulated so far; "
                "lower camera_rate",
                throttle_duration_sec=10.0,
            )


def main() -> int:
    """Run the node until SIGINT or SIGTERM."""
    return run_node(SimulatorNode)


if __name__ == "__main__":
    sys.exit(main())
