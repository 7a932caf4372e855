# SPDX-License-Identifier: Apache-2.0
"""The `executor` node: plans and joint states in, commands out at the robot's rate.

ROS callbacks run in one thread, the rate in another; both go through one lock. Plans of poses are
solved in a third. All decisions are those of `dm0_ros.control.Executor`.
"""

import math
import sys
import threading
import time
import traceback
from dataclasses import replace

import numpy as np
from rclpy.impl.rcutils_logger import RcutilsLogger
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from dm0_ros.control import Chunk, Executor, State, Status
from dm0_ros.errors import PlanError, RobotError
from dm0_ros.msg import ActionChunk, ExecutorStatus
from dm0_ros.nodes.lifecycle import LifecycleNode, run_node
from dm0_ros.nodes.messages import message_from_status, read_chunk
from dm0_ros.nodes.overrides import declare_overrides, read_robot, read_seam
from dm0_ros.nodes.pacing import Pacer, SteadyClock
from dm0_ros.nodes.parameters import declare
from dm0_ros.nodes.quality import COMMAND, SENSOR, STATUS
from dm0_ros.nodes.scheduling import schedule_thread
from dm0_ros.nodes.sinks import Output, make_outputs
from dm0_ros.nodes.solving import SolvingThread
from dm0_ros.nodes.stamps import to_seconds
from dm0_ros.nodes.supervision import Supervision
from dm0_ros.robots import RobotSpec
from dm0_ros.robots.spec import Space

_STATUS_PERIOD = 0.05  # s between statuses that tell of no change
_LONGEST_BRAKING = 2.0  # s that deactivation waits for the set-point to come to rest
_SIMULATED_STEP = 4.0  # periods: simulated time comes in steps of the simulator's making
_AHEAD = 0.01  # s from now on that a new plan begins to count: time to design its motion
_SWITCH_INTERVAL = 5e-4  # s: lets the rate's thread in ten times sooner than Python's default


class ExecutorNode(LifecycleNode):
    """Wires topics and services to the state machine, and ticks it while active."""

    def __init__(self) -> None:
        super().__init__("executor")
        self._lock = threading.RLock()  # held by whoever touches the machine
        self._time = SteadyClock(self.get_clock())
        self._machine: Executor | None = None
        self._pacer: Pacer | None = None
        self._outputs: list[Output] = []
        self._supervision: Supervision | None = None
        self._commanding = False  # whether the last tick had a set-point
        self._entities: list[tuple] = []  # what release() destroys, with how
        self._told: tuple = ()  # what the last status said that is worth one at once
        self._told_at = -math.inf
        self._solving: SolvingThread | None = None
        self._unsolvable = ""  # why plans of poses cannot be followed
        declare_overrides(self)
        declare(self, "priority", 0, "SCHED_FIFO priority of the rate's thread; 0: none", (0, 99))
        declare(self, "cpu", -1, "CPU that the rate's thread is bound to; -1: any", (-1, 4095))

    def configure(self) -> None:
        """See `LifecycleNode`. Raises `RobotError` where the robot's YAML is wrong."""
        robot = read_robot(self)
        if not robot.joints:
            raise RobotError(
                f"{robot.name}: is a base alone, which the node navigator drives, not the executor"
            )
        seam, self._rows = read_seam(self, robot)
        self._openings = {g.name: g.opening_per_joint for g in robot.grippers}
        self._rate = robot.executor.rate
        simulated = self.get_parameter("use_sim_time").value
        self._machine = Executor(robot, seam, _SIMULATED_STEP if simulated else 1.0)
        self._outputs = make_outputs(self, robot, self._give_up)
        self._statuses = self.create_publisher(ExecutorStatus, "executor_status", STATUS)
        plans = self.create_subscription(ActionChunk, "action_chunk", self._take_plan, COMMAND)
        joints = self.create_subscription(JointState, "joint_states", self._take_joints, SENSOR)
        stop = self.create_service(Trigger, "~/stop", self._stop)
        reset = self.create_service(Trigger, "~/reset", self._reset)
        self._entities = [
            (self.destroy_subscription, plans),
            (self.destroy_subscription, joints),
            (self.destroy_service, stop),
            (self.destroy_service, reset),
            (self.destroy_publisher, self._statuses),
        ]
        self._supervision = Supervision(
            self, robot, self._outputs, plans, self._describe, self._scale
        )
        self._prepare_solving(robot)
        self._tell()
        alone = "; plans that drive its base are refused" if robot.base else ""
        self.get_logger().info(f"ready for {robot.title} at {self._rate:g} Hz{alone}")

    def _prepare_solving(self, robot: RobotSpec) -> None:
        self._unsolvable = ""
        try:
            self._solving = SolvingThread(self, robot, self._outlook, self._follow, self._refuse)
        except RobotError as error:
            self._unsolvable = str(error)
            self.get_logger().warning(f"plans of poses will be refused: {error}")

    def activate(self) -> None:
        """See `LifecycleNode`."""
        self._pacer = Pacer(self._rate, self._tick, self._break_down, self._schedule)
        self._pacer.start()

    def _schedule(self) -> None:
        """What the pacer's thread begins with."""
        wishes = [self.get_parameter(name).value for name in ("priority", "cpu")]
        self._supervision.refusals = schedule_thread(*wishes)
        for refusal in self._supervision.refusals:
            self.get_logger().warning(f"the rate's thread gets {refusal}")

    def deactivate(self) -> None:
        """Bring the set-point to rest, then command nothing any more."""
        with self._lock:
            self._machine.reset("deactivated")
        end = time.monotonic() + _LONGEST_BRAKING
        while self._machine.state is State.STARVED and time.monotonic() < end:
            time.sleep(1.0 / self._rate)
        self._pacer.stop()
        self._pacer = None
        self._rest()
        self._tell()

    def release(self) -> None:
        """See `LifecycleNode`."""
        for destroy, entity in self._entities:
            destroy(entity)
        for output in self._outputs:
            output.close()
        if self._solving:
            self._solving.close()
        if self._supervision:
            self._supervision.close()
        self._entities, self._outputs = [], []
        self._solving, self._supervision, self._machine = None, None, None

    def _tick(self, deadline: float) -> None:
        """One period, in the pacer's thread."""
        with self._lock:
            now = self._time.at(deadline)
            point = self._machine.tick(now)
            if point is None:
                self._rest()
            else:
                self._commanding = True
                for output in self._outputs:
                    output.publish(
                        point, lambda spacing, count: self._machine.preview(now, spacing, count)
                    )
            machine = self._machine
            news = (machine.state, machine.epoch, machine.reason)
            if news != self._told or deadline - self._told_at >= _STATUS_PERIOD:
                self._tell(deadline)

    def _rest(self) -> None:
        """Tell the outputs once that nothing is commanded any more."""
        if self._commanding:
            self._commanding = False
            for output in self._outputs:
                output.rest()

    def _give_up(self, reason: str) -> None:
        """The arm's controller is lost: it must not find a far set-point when it comes back."""
        self.get_logger().error(reason)
        with self._lock:
            if self._commanding:
                self._machine.fail(reason)

    def _break_down(self, error: Exception) -> None:
        """A defect of ours in the pacer's thread: say so, and refuse plans."""
        self.get_logger().fatal("".join(traceback.format_exception(error)))
        with self._lock:
            self._machine.fail(f"internal error: {type(error).__name__}: {error}")
            self._tell()
            self._rest()

    def _take_plan(self, message: ActionChunk) -> None:
        try:
            chunk = self._read(message)
            if chunk.space is not Space.EEF_POSE:
                self._follow(chunk)
            elif self._solving:
                self._solving.submit(chunk)
            else:
                raise PlanError(f"plan {chunk.sequence}: {self._unsolvable}")
        except PlanError as error:
            self._refuse(error)

    def _follow(self, chunk: Chunk) -> None:
        """Its motion is designed without the lock, so that no tick waits for it."""
        with self._lock:
            draft = self._machine.consider(chunk, self._time.now(), _AHEAD)
        if draft is not None:
            draft.design()
            with self._lock:
                self._machine.adopt(draft, self._time.now())

    def _outlook(self, chunk: Chunk) -> tuple[np.ndarray, float]:
        with self._lock:
            present, passed = self._machine.outlook(chunk, self._time.now())
        # what is played from its first row on begins when it comes
        return present, passed if self._rows is None else 0.0

    def _refuse(self, error: PlanError) -> None:
        with self._lock:
            self._machine.refuse(str(error))
        self._supervision.note_drop(str(error))
        self.get_logger().warning(f"plan refused: {error}", throttle_duration_sec=1.0)

    def _read(self, message: ActionChunk) -> Chunk:
        if self._pacer is None:
            raise PlanError(f"plan {message.sequence}: the executor is not active")
        if obstacle := self._supervision.obstacle():
            raise PlanError(f"plan {message.sequence}: {obstacle}")
        self._supervision.note_plan(message)
        chunk = read_chunk(message)
        return replace(chunk, values=chunk.values[: self._rows])

    def _scale(self, speed: float) -> None:
        with self._lock:
            self._machine.scale(speed)

    def _take_joints(self, message: JointState) -> None:
        self._supervision.note_joints()
        # Short or absent positions are legal: then those joints are not in this message.
        positions = {
            name: value * self._openings.get(name, 1.0)
            for name, value in zip(message.name, message.position, strict=False)
        }
        with self._lock:
            self._machine.measure(positions, to_seconds(message.header.stamp), self._time.now())

    def _stop(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self._lock:
            self._machine.stop("stopped by ~/stop")
            return self._answer(response)

    def _reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self._lock:
            self._machine.reset("reset by ~/reset")
            if self._machine.state is State.IDLE:
                self._rest()  # a plan may come before the next tick
            return self._answer(response)

    def _answer(self, response: Trigger.Response) -> Trigger.Response:
        self._tell()
        machine = self._machine
        response.success = True
        response.message = f"{machine.state.name}: {machine.reason}; epoch {machine.epoch}"
        return response

    def _tell(self, deadline: float | None = None) -> None:
        """Publish the status; log what is new in it."""
        self._told_at = time.monotonic() if deadline is None else deadline
        with self._lock:
            now = self._time.at(self._told_at)
            status = self._status(now)
            self._statuses.publish(message_from_status(status, now))
            told = (status.state, status.epoch, self._machine.reason)
        if told[:2] != self._told[:2]:
            _log(self.get_logger(), status)
        self._told = told

    def _status(self, now: float) -> Status:
        status = self._machine.status(now)
        return replace(status, period_p99=self._pacer.period(99)) if self._pacer else status

    def _describe(self) -> tuple[Status, Pacer | None]:
        with self._lock:
            return self._status(self._time.now()), self._pacer


def _log(logger: RcutilsLogger, status: Status) -> None:
    sentence = f"{status.state.name} (epoch {status.epoch}): {status.reason}"
    if status.state is State.FAULT:
        logger.error(sentence)
    else:
        logger.info(sentence)


def main(arguments: list[str] | None = None) -> int:
    """Run the node; returns the exit status."""
    sys.setswitchinterval(_SWITCH_INTERVAL)
    return run_node(ExecutorNode, arguments)


if __name__ == "__main__":
    sys.exit(main())
