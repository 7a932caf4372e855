# SPDX-License-Identifier: Apache-2.0
"""A thread that calls a function at absolute deadlines, and the ROS time of those deadlines."""

import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np
from rclpy.clock import Clock

from dm0_ros.nodes.stamps import read_clock

_WINDOW = 500  # periods that the percentile is taken over
_SLEW = (
    1e-5  # s by which the clock's offset may change at once: 1 ms/s at 100 Hz, twice NTP's most
)
_JUMP = 0.05  # s of difference from which on the clock was set, not slewed
_BLURRED = 1e-3  # s that reading two clocks may take before the reading is worthless


class Pacer:
    """Calls ``step(deadline)`` at a fixed rate, in its own thread, by the monotonic clock.

    Deadlines form one grid, so that lateness never adds up; those that passed during a long call
    are skipped, never made up for. The thread begins with ``prepare()``. ``fail(error)`` is called
    once where either raises, which ends the thread.
    """

    def __init__(
        self,
        rate: float,
        step: Callable[[float], None],
        fail: Callable[[Exception], None],
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self._period = 1.0 / rate
        self._step = step
        self._fail = fail
        self._prepare = prepare
        self._ending = threading.Event()
        self._periods: deque[float] = deque(maxlen=_WINDOW)
        self._thread = threading.Thread(target=self._run, name="pacer", daemon=True)

    def start(self) -> None:
        """Begin; once."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the call under way."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def period(self, percentile: float) -> float:
        """A percentile of the time between calls lately, s; NaN before there are any."""
        periods = list(self._periods)
        return float(np.percentile(periods, percentile)) if periods else float("nan")

    def _run(self) -> None:
        try:
            self._prepare()
            self._keep_pace()
        except Exception as error:
            self._fail(error)

    def _keep_pace(self) -> None:
        deadline = time.monotonic() + self._period
        last = None
        while not self._ending.is_set():
            delay = deadline - time.monotonic()
            if delay > 0:
                # Spinning for the last 0.2 ms was measured: on a busy machine the scheduler takes
                # it out on the thread, and its 99th percentile is worse than that of sleeping.
                time.sleep(delay)
            begin = time.monotonic()
            if last is not None:
                self._periods.append(begin - last)
            last = begin
            missed = max(0, int((begin - deadline) / self._period))
            deadline += missed * self._period
            self._step(deadline)
            deadline += self._period


class SteadyClock:
    """ROS time as a function of the monotonic clock, without the jitter of reading both.

    Their difference is followed slowly, as clocks are slewed; a larger one counts as a jump and is
    passed on at once. Simulated time is passed on as it is.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset: float | None = None

    def at(self, monotonic: float) -> float:
        """ROS time (s) at a moment of the monotonic clock. One caller at a time."""
        if self._clock.ros_time_is_active:
            return read_clock(self._clock)
        before = time.monotonic()
        offset = read_clock(self._clock) - before
        if self._offset is None or abs(offset - self._offset) > _JUMP:
            self._offset = offset
        elif time.monotonic() - before < _BLURRED:
            self._offset += min(max(offset - self._offset, -_SLEW), _SLEW)
        return monotonic + self._offset

    def now(self) -> float:
        """ROS time (s) now."""
        return self.at(time.monotonic())
