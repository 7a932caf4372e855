# SPDX-License-Identifier: Apache-2.0
"""A clock that passes when it is waited on, and a small policy, for tests of the job client."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np

from dm0_ros.challenge.collection import run_collection
from dm0_ros.challenge.faults import parse_fault
from dm0_ros.challenge.mock_platform import MockPlatform
from dm0_ros.challenge.mock_server import MockServer
from dm0_ros.challenge.table import ClientSettings, find_task, load_station, load_table30
from dm0_ros.policy.protocol import Latency, Observation, Plan, PolicySpec
from dm0_ros.robots.layouts import Space

# one task for each of the platform's robots
TASKS = {
    "arx5": "put_cup_on_coaster",
    "aloha": "stack_bowls",
    "franka": "press_three_buttons",
    "ur5": "set_the_plates",
}
POSE = [robot for robot in TASKS if robot != "aloha"]
OFFSET = 1_000_000.0  # s that the platform's clock is ahead


class PassingTime:
    """Whoever waits lets it pass. Small steps beside, as real clocks have."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 100.0

    def now(self) -> float:
        with self._lock:
            self._now += 1e-4
            return self._now

    def wait(self, seconds: float) -> None:
        with self._lock:
            self._now += seconds

    def theirs(self) -> float:
        """The platform's clock."""
        return self.now() + OFFSET


class Wave:
    """A policy that moves every column a little around where the robot was first seen."""

    def __init__(self, robot, space: Space = Space.JOINT_POSITION, slots=("high",)) -> None:
        layout = next(item for item in robot.layouts.values() if item.space is space)
        self.spec = PolicySpec(
            "wave", slots, layout.columns, layout.columns, space, 20, 0.1, False, 10
        )
        self.observations: list[Observation] = []
        self.resets = 0
        self._moving = ~np.isin(layout.columns, layout.absolute)

    def reset(self) -> None:
        self.resets += 1

    def check_instruction(self, instruction: str) -> None:
        pass

    def infer(self, observation, prefix=None) -> Plan:
        self.observations.append(observation)
        ramp = np.linspace(0, 0.01, self.spec.horizon)[:, None] * self._moving
        values = observation.state + ramp * (-1) ** len(self.observations)
        start, step = observation.stamp, self.spec.step
        latency = Latency(0, 0, 0, 0)
        names = self.spec.action_names
        return Plan(start, step, self.spec.space, names, values, float("nan"), latency)


def fast_table(address: str, **client: object):
    """The shipped table with small pictures, few probes, and a server at this address."""
    table = load_table30()
    changes = {"timeout": 0.3, "clock_probes": 3, "probe_pause": 0.01, **client}
    return replace(
        table,
        platform=replace(table.platform, address=address, picture=(16, 12), finished_polls=2),
        client=replace(table.client, **changes),
    )


class Rehearsal:
    """A mock platform with one collection, and what a client needs to run it."""

    def __init__(
        self,
        folder: Path,
        robot: str = "arx5",
        faults: tuple[str, ...] = (),
        jobs: int = 1,
        chunks: int = 3,
        space: Space = Space.JOINT_POSITION,
    ) -> None:
        self.folder = folder
        self.clock = PassingTime()
        self.task = find_task(TASKS[robot])
        self.robot, self.station = load_station(self.task)
        slots = ("high", "left_hand") if robot != "ur5" else ("right_hand", "left_hand")
        self.policy = Wave(self.robot, space, slots)
        self.platform = MockPlatform(self.clock.theirs)
        self.platform.trap = folder / "trap"
        self.platform.add("c", self.task, jobs, chunks)
        self.server = MockServer(self.platform, tuple(map(parse_fault, faults)))
        self.told: list[str] = []

    def run(self, policy=None, tell=None, **client: object):
        """The records of the collection's jobs."""
        table = fast_table(self.server.address, **client)
        tell = tell or self.told.append
        return run_collection(
            "c", self.task, policy or self.policy, table, "me", self.folder, tell, self.clock
        )

    def __enter__(self) -> Rehearsal:
        return self

    def __exit__(self, *_error: object) -> None:
        self.server.close()


SETTINGS: ClientSettings = load_table30().client
