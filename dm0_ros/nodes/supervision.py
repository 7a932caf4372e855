# SPDX-License-Identifier: Apache-2.0
"""What surrounds the executor: controllers, publishers of plans, clocks. Watched and reported."""

import math
import time
from collections.abc import Callable, Sequence

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.subscription import Subscription
from std_msgs.msg import Float64

from dm0_ros.control import Status
from dm0_ros.msg import ActionChunk
from dm0_ros.nodes.health import ExecutorDiagnostics, Readings
from dm0_ros.nodes.pacing import Pacer
from dm0_ros.nodes.publishers import find_rivals
from dm0_ros.nodes.quality import SENSOR
from dm0_ros.nodes.sinks import Output
from dm0_ros.nodes.stamps import read_clock, to_seconds, to_time
from dm0_ros.robots import RobotSpec

_PERIOD = 1.0  # s between reports


class Supervision:
    """Publishes /diagnostics once a second by the wall's clock. Lives in the node's thread."""

    def __init__(
        self,
        node: Node,
        robot: RobotSpec,
        outputs: Sequence[Output],
        plans: Subscription,
        describe: Callable[[], tuple[Status, Pacer | None]],
        scale: Callable[[float], None],
    ) -> None:
        """``describe`` gives the status, and who keeps the rate while the node is active.

        ``scale(share)`` is told what share of full speed the robot allows, 0 to 1.
        """
        self._speed = math.nan
        self._scale = scale
        self._scaling = robot.speed_scaling
        if self._scaling:
            self._speeds = node.create_subscription(
                Float64, self._scaling.topic, self._take_speed, SENSOR
            )
        self.refusals: Sequence[str] = ()  # of real-time scheduling
        self._node = node
        self._outputs = outputs
        self._plans = plans
        self._describe = describe
        self._diagnostics = ExecutorDiagnostics(robot)
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 1)
        # simulated time may stand still, and that is one of the things to report
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(_PERIOD, self._report, clock=clock)
        self._joints_at = -math.inf  # s, monotonic
        self._last_time = -math.inf  # s, of the node's clock

    def obstacle(self) -> str:
        """Why no plan may be followed now, or ''."""
        for output in self._outputs:
            if output.vital and (complaint := output.complaint()):
                return complaint
        return find_rivals(self._node, self._plans)

    def note_plan(self, message: ActionChunk) -> None:
        """A plan came."""
        sent = to_seconds(message.header.stamp)
        transport = read_clock(self._node.get_clock()) - sent if sent else math.nan
        self._diagnostics.note_plan(list(message.latency_ms), transport)

    def note_drop(self, reason: str) -> None:
        """A plan was refused."""
        self._diagnostics.note_drop(reason)

    def note_joints(self) -> None:
        """Joint states came."""
        self._joints_at = time.monotonic()

    def close(self) -> None:
        """Give back timer and publisher."""
        if self._scaling:
            self._node.destroy_subscription(self._speeds)
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._publisher)

    def _take_speed(self, message: Float64) -> None:
        speed = message.data / self._scaling.full
        if not speed >= 0:  # NaN neither
            self._node.get_logger().error(
                f"{self._scaling.topic} says {message.data}; the plan pauses",
                throttle_duration_sec=1.0,
            )
            speed = 0.0
        self._speed = min(speed, 1.0)
        self._scale(self._speed)

    def _report(self) -> None:
        status, pacer = self._describe()
        clock = self._node.get_clock()
        now, before = read_clock(clock), self._last_time
        self._last_time = now
        complaints = [(output.vital, output.complaint()) for output in self._outputs]
        readings = Readings(
            active=pacer is not None,
            period_p50=pacer.period(50) if pacer else math.nan,
            period_p99=pacer.period(99) if pacer else math.nan,
            joints_age=time.monotonic() - self._joints_at,
            speed=self._speed,
            rivals=find_rivals(self._node, self._plans),
            frozen=clock.ros_time_is_active and now == before,
            lost=[text for vital, text in complaints if text and vital],
            unheard=[text for vital, text in complaints if text and not vital],
            refusals=self.refusals,
        )
        self._publisher.publish(self._diagnostics.report(to_time(now), status, readings))
