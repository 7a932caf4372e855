# SPDX-License-Identifier: Apache-2.0
"""What one tick of the executor costs, and how evenly it ticks, while a network runs beside it.

One process as the executor node is one: a thread that ticks at absolute deadlines, a thread that
takes plans and joint states. Without middleware; benchmarks/executor_jitter.py measures with it.
"""

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from support.observations import make_observations
from support.record import (
    make_parser,
    make_record,
    summarise,
    to_text,
    write_figures,
    write_result,
)

from dm0_ros.control import Chunk, Executor, make_seam
from dm0_ros.nodes.pacing import Pacer
from dm0_ros.nodes.scheduling import schedule_thread
from dm0_ros.robots import RobotSpec, load_robot
from dm0_ros.robots.spec import Space

RATES = [50.0, 100.0, 125.0, 250.0, 500.0, 1000.0]
STEP, ROWS, SWING = 0.1, 50, 0.2  # s, rows, rad
RENEWAL, REPORT = 0.5, 0.01  # s between plans, and between joint states
AHEAD = (
    0.01  # s, as the node has it: from a plan's arrival to the moment from which its motion counts
)
SWITCH = 5e-4  # s, as the node sets it: how long Python lets another thread wait
WARM_UP = 1.0  # s
PRIORITY = 50  # of SCHED_FIFO, in a sweep
ALONE = 2000  # ticks; four seconds at 500 Hz


def parse(arguments=None):
    """Options."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--hz", type=float, default=500.0)
    add("--joints", type=int, choices=(7, 14), default=14)
    add("--with-policy", action="store_true", help="dm0-nano plans in another process meanwhile")
    add("--priority", type=int, default=0, help="SCHED_FIFO of the rate's thread; 0: none")
    add("--seconds", type=float, default=10.0, help="of every measurement")
    add("--sweep", action="store_true", help="also 50 to 1000 Hz, 7 and 14 joints, SCHED_FIFO")
    add("--json", type=Path, help="where to write the figures")
    add("--network", action="store_true", help="be the other process")
    return parser.parse_args(arguments)


def main(arguments=None) -> dict | None:
    """Measure, write and give the record; or be the network until stdin closes."""
    options = parse(arguments)
    if options.network:
        run_network()
        return None
    network = start_network() if options.with_policy else None
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    try:
        figures = measure(options.hz, options.joints, options.seconds, options.priority)
        if options.sweep:
            figures["rates"] = [
                measure(hz, joints, options.seconds, priority)
                for priority in (0, PRIORITY)
                for joints in (7, 14)
                for hz in RATES
            ]
    finally:
        sys.setswitchinterval(before)
        if network:
            network.stdin.close()
    figures["with_policy"] = options.with_policy
    if network:
        figures["policy_plans"] = int(network.stdout.readline())
        network.wait()
    record = make_record("executor_rate", figures)
    if options.json:
        write_figures(options.json, record)
    if options.write:
        write_result("executor_rate", to_text(record))
    sys.stdout.write(to_text(record))
    return record


def make_robot(joints: int, hz: float) -> RobotSpec:
    """One FR3, or two glued into one robot of 14 joints; without grippers."""
    one = load_robot("franka")
    sides = ("left_", "right_")[: joints // len(one.joints)]
    names = {side + joint.name: joint for side in sides for joint in one.joints}
    return replace(
        one,
        joints=tuple(replace(joint, name=name) for name, joint in names.items()),
        grippers=(),
        home={name: one.home[joint.name] for name, joint in names.items()},
        layouts={},
        sinks=(),
        simulation=None,
        executor=replace(one.executor, rate=hz),
    )


class Bench:
    """The executor between its two threads, as in the node."""

    def __init__(self, hz: float, joints: int, priority: int) -> None:
        self._priority = priority
        self.refusals: list[str] = []
        robot = make_robot(joints, hz)
        self._home = np.array([robot.home[name] for name in robot.column_names])
        self._executor = Executor(robot, make_seam("blend", robot.executor.blend_time, ROWS))
        self._lock = threading.RLock()
        self._positions = self._home
        self._count = 0
        self._origin = time.monotonic()
        self._hz = hz
        self.begins: list[float] = []  # s
        self.ticks: list[int] = []  # ns
        self.plans: list[int] = []  # ns
        self.error: Exception | None = None

    def run(self, seconds: float) -> None:
        """Tick for so long; raises what a tick raised."""
        pacer = Pacer(self._hz, self._tick, self._fail, self._schedule)
        begin = time.monotonic()
        self._measure(begin)
        self._plan(begin)
        pacer.start()
        reports, renewals = begin, begin
        while time.monotonic() < begin + seconds and self.error is None:
            if time.monotonic() >= renewals + RENEWAL:
                renewals += RENEWAL
                self._plan(time.monotonic())
            self._measure(time.monotonic())
            reports += REPORT
            time.sleep(max(0.0, reports - time.monotonic()))
        pacer.stop()
        if self.error:
            raise self.error

    def run_alone(self, count: int) -> np.ndarray:
        """Seconds of ``count`` ticks one after the other, in made-up time: a warm cache."""
        now, took = self._origin, []
        self._measure(now)
        self._plan(now)
        for number in range(count):
            now += 1.0 / self._hz
            if number % int(REPORT * self._hz + 1) == 0:
                self._measure(now)
            begin = time.perf_counter()
            self._executor.tick(now)
            took.append(time.perf_counter() - begin)
        return np.array(took)

    def _tick(self, deadline: float) -> None:
        self.begins.append(time.monotonic())
        with self._lock:
            begin = time.perf_counter_ns()
            point = self._executor.tick(deadline)
            self.ticks.append(time.perf_counter_ns() - begin)
        self._positions = point.positions

    def _measure(self, now: float) -> None:
        positions = dict(zip(self._executor.names, self._positions, strict=True))
        with self._lock:
            self._executor.measure(positions, now, now)

    def _plan(self, now: float) -> None:
        self._count += 1
        values = np.tile(self._home, (ROWS, 1))
        joint = np.arange(len(self._home))
        passed = now - self._origin + STEP * np.arange(ROWS)[:, None]
        values += SWING * (np.sin(passed + joint) - np.sin(joint))
        names = self._executor.names
        chunk = Chunk(now, STEP, Space.JOINT_POSITION, names, values, self._count, 0)
        begin = time.perf_counter_ns()
        with self._lock:
            draft = self._executor.consider(chunk, now, AHEAD)
        draft.design()
        with self._lock:
            self._executor.adopt(draft, now + 1e-9 * (time.perf_counter_ns() - begin))
        self.plans.append(time.perf_counter_ns() - begin)

    def _schedule(self) -> None:
        self.refusals = schedule_thread(self._priority, -1)

    def _fail(self, error: Exception) -> None:
        self.error = error


def measure(hz: float, joints: int, seconds: float, priority: int) -> dict:
    """Cost of a tick and evenness of the ticks at one rate."""
    bench = Bench(hz, joints, priority)
    bench.run(WARM_UP + seconds)
    first = int(np.searchsorted(bench.begins, bench.begins[0] + WARM_UP))
    ticks = np.array(bench.ticks[first:]) / 1e3
    alone = 1e6 * Bench(hz, joints, priority).run_alone(ALONE)
    periods = 1e3 * np.diff(bench.begins[first:])
    errors = np.abs(periods - 1e3 / hz)
    return {
        "hz": hz,
        "joints": joints,
        "seconds": seconds,
        "ticks": len(ticks),
        "ticks_missed": round((bench.begins[-1] - bench.begins[first]) * hz) + 1 - len(ticks),
        "tick_us_p50": round(float(np.percentile(ticks, 50)), 2),
        "tick_us_p99": round(float(np.percentile(ticks, 99)), 2),
        "tick_alone_us_p50": round(float(np.percentile(alone, 50)), 2),
        "tick_alone_us_p99": round(float(np.percentile(alone, 99)), 2),
        "period_error_ms_p50": round(float(np.percentile(errors, 50)), 4),
        "period_error_ms_p99": round(float(np.percentile(errors, 99)), 4),
        "period_error_ms_max": round(float(errors.max()), 4),
        "priority": 0 if bench.refusals else priority,
        "refusals": bench.refusals,
        "plan_us": summarise(np.array(bench.plans[1:]) / 1e3, 1),
    }


def start_network() -> subprocess.Popen:
    """Another process that plans as fast as it can; comes back once it does."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--network"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if process.stdout.readline().strip() != "planning":
        raise SystemExit("executor_rate: the network's process ended; see its error above")
    return process


def run_network() -> None:
    """Plan with dm0-nano, as nice as the policy node is, until stdin closes."""
    import torch

    from dm0_ros.policy.registry import load_policy

    os.nice(5)
    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    robot = load_robot("franka")
    policy = load_policy("dm0-nano", robot)
    observations = make_observations(policy.spec, robot)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    count = 0
    while not ended.is_set():
        policy.infer(next(observations))
        count += 1
        if count == 1:
            sys.stdout.write("planning\n")
            sys.stdout.flush()
    sys.stdout.write(f"{count}\n")


if __name__ == "__main__":
    main()
