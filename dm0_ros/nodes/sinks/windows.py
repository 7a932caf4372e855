# SPDX-License-Identifier: Apache-2.0
"""Stretches of trajectory for controllers that interpolate, renewed long before they end."""

from collections.abc import Sequence

import numpy as np
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from dm0_ros.control import SetPoint
from dm0_ros.control.curve import Curve, hermite
from dm0_ros.nodes.sinks.output import Preview
from dm0_ros.nodes.stamps import to_duration, to_time
from dm0_ros.robots.spec import Sink

# Half a second ahead, renewed five times before it ends. The controller interpolates quintics
# between points, so twenty a second lose nothing.
_SPACING = 0.05  # s between points
_COUNT = 10  # points, the one at rest not counted
_RENEWAL = 0.1  # s between windows that only continue the one before
_SOONEST = 0.02  # s between windows that correct the one before
_DEVIATION = 5e-4  # rad (m) off the last window from which on it has to be corrected


class Windows:
    """Decides when a window is due and builds it.

    Every point has position, velocity and acceleration, or the controller would interpolate
    linearly; the last one is at rest, or it would refuse the message; the stamp says when time
    zero is, so that points which have passed are dropped by time. Where the set-point leaves what
    the last window said, because the arm brakes, a new plan came, or ticks were late, the next
    one is due at once.
    """

    def __init__(self, sink: Sink, names: Sequence[str]) -> None:
        self._names = list(sink.names)
        self._columns = np.array([names.index(name) for name in sink.names])
        self.forget()

    def forget(self) -> None:
        """The next window is due at once."""
        self._sent = -np.inf
        self._told: Curve | None = None  # of time since `_sent`

    def due(self, point: SetPoint, preview: Preview) -> JointTrajectory | None:
        """The window that begins at ``point``, if one is due now."""
        passed = point.time - self._sent
        if 0 <= passed < _SOONEST or (passed < _RENEWAL and self._holds(point, passed)):
            return None
        ahead = preview(_SPACING, _COUNT)
        if not ahead:
            return None
        self._sent = point.time
        self._told = self._join(point, ahead)
        message = JointTrajectory(joint_names=self._names)
        message.header.stamp = to_time(point.time)
        message.points = [self._convert(later, point.time) for later in ahead]
        return message

    def _holds(self, point: SetPoint, passed: float) -> bool:
        """Whether the last window still says where the set-point is."""
        if passed < 0 or self._told is None:
            return False
        off = self._told.sample(passed)[0] - point.positions[self._columns]
        return float(np.abs(off).max()) <= _DEVIATION

    def _join(self, point: SetPoint, ahead: Sequence[SetPoint]) -> Curve:
        """What the controller makes of a window."""
        times = np.array([p.time - point.time for p in (point, *ahead)])
        states = [self._state(p) for p in (point, *ahead)]
        pieces = [
            hermite(first, second, step)
            for first, second, step in zip(states, states[1:], np.diff(times), strict=False)
        ]
        return Curve(times[:-1], np.stack(pieces), float(times[-1]))

    def _state(self, point: SetPoint) -> np.ndarray:
        state = np.stack([point.positions, point.velocities, point.accelerations])
        return state[:, self._columns]

    def _convert(self, point: SetPoint, start: float) -> JointTrajectoryPoint:
        positions, velocities, accelerations = self._state(point).tolist()
        return JointTrajectoryPoint(
            positions=positions,
            velocities=velocities,
            accelerations=accelerations,
            time_from_start=to_duration(point.time - start),
        )
