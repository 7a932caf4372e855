# SPDX-License-Identifier: Apache-2.0
"""What a policy was shown, found again in a recording by the live node's own code."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np

from dm0_ros.errors import ObservationError
from dm0_ros.policy.gathering import Gatherer
from dm0_ros.policy.protocol import Observation, PolicySpec
from dm0_ros.replay.plans import RecordedPlan
from dm0_ros.robots.spec import RobotSpec

PATIENCE = 2.0
"""s of reception for which the messages that a plan was made of may be behind the plan."""


class Sought:
    """The observation of one recorded plan, whose parts are being found."""

    def __init__(self, recorded: RecordedPlan) -> None:
        self.recorded = recorded
        self.observation: Observation | None = None
        self.fault = ""  # why there is none
        self.pictures: dict[str, tuple[float, Callable[[], np.ndarray]]] = {}
        self.joints: dict[str, tuple[float, float]] = {}

    def describe_missing(self) -> str:
        """What the bag lacks of a plan with a trace, or ''."""
        trace = self.recorded.trace
        slots = [slot for slot in trace.stamps if slot not in self.pictures]
        joints = [name for name in trace.joint_stamps if name not in self.joints]
        parts = [f"the picture of {slot} at {trace.stamps[slot]:.6f} s" for slot in slots]
        if joints:
            stamp = trace.joint_stamps[joints[0]]
            parts.append(f"the position of {', '.join(joints)} at {stamp:.6f} s")
        return f"not in the bag: {'; '.join(parts)}" if parts else ""


class Seeker:
    """Is shown every message of the sensors in order of reception, and finds observations.

    A plan with a trace was made of the messages that it names. For one without, the newest before
    the moment when its inference began have to do. Undecoded pictures are kept until a plan that
    needs them is found, no others.
    """

    def __init__(self, spec: PolicySpec, robot: RobotSpec) -> None:
        self._exact = Gatherer(spec, robot)
        self.newest = Gatherer(spec, robot)
        self._queue: deque[Sought] = deque()
        self._pictures: dict[tuple[str, float], list[Sought]] = defaultdict(list)
        self._joints: dict[float, list[Sought]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self._queue)

    def seek(self, recorded: RecordedPlan) -> None:
        """Look for the observation of a plan; those of earlier plans come first."""
        sought = Sought(recorded)
        self._queue.append(sought)
        if recorded.trace is not None:
            for slot, stamp in recorded.trace.stamps.items():
                self._pictures[slot, stamp].append(sought)
            for stamp in set(recorded.trace.joint_stamps.values()):
                self._joints[stamp].append(sought)

    def add_picture(self, slot: str, stamp: float, decode: Callable[[], np.ndarray]) -> None:
        """A picture; it is decoded where a plan needs it, once."""
        once = cache(decode)
        self.newest.add_picture(slot, stamp, once)
        for sought in self._pictures.pop((slot, stamp), ()):
            sought.pictures[slot] = stamp, once

    def add_joints(self, stamp: float, names, positions) -> None:
        """Joint positions; raises `ObservationError` where there are not as many as names."""
        self.newest.add_joints(stamp, names, positions)
        for sought in self._joints.get(stamp, ()):
            wanted = sought.recorded.trace.joint_stamps
            for name, position in zip(names, positions, strict=True):
                if wanted.get(name) == stamp:
                    sought.joints[name] = stamp, float(position)

    def find(self, received: float, now: float) -> Iterator[Sought]:
        """Plans whose observations are found, or given up, in order.

        All messages up to ``received`` (s) were shown; at that moment the graph's clock said
        ``now``.
        """
        for sought in self._queue:
            if sought.recorded.trace is None and now >= sought.recorded.moment:
                self._reconstruct(sought)
        while self._queue and self._settle(self._queue[0], received):
            sought = self._queue.popleft()
            self._forget(sought)
            yield sought

    def _reconstruct(self, sought: Sought) -> None:
        if sought.observation is None and not sought.fault:
            recorded = sought.recorded
            try:
                sought.observation = self.newest.observe(recorded.instruction, recorded.moment)
            except ObservationError as error:
                sought.fault = str(error)

    def _settle(self, sought: Sought, received: float) -> bool:
        if sought.recorded.trace is None:
            return sought.observation is not None or bool(sought.fault)
        missing = sought.describe_missing()
        if missing and received - sought.recorded.received < PATIENCE:
            return False
        sought.fault = missing
        if not missing:
            self._assemble(sought)
        return True

    def _assemble(self, sought: Sought) -> None:
        """Show the messages that the live policy used to what it used them with."""
        gatherer = self._exact
        gatherer.clear()
        for slot, (stamp, decode) in sought.pictures.items():
            gatherer.add_picture(slot, stamp, decode)
        for name, (stamp, position) in sought.joints.items():
            gatherer.add_joints(stamp, [name], [position])
        trace = sought.recorded.trace
        try:
            # Nothing newer is there, so these are the newest; it was checked how old they were.
            newest = max(trace.stamps.values())
            sought.observation = gatherer.observe(sought.recorded.instruction, newest)
        except ObservationError as error:
            sought.fault = str(error)

    def _forget(self, sought: Sought) -> None:
        trace = sought.recorded.trace
        if trace is None:
            return
        for table, keys in (
            (self._pictures, trace.stamps.items()),
            (self._joints, set(trace.joint_stamps.values())),
        ):
            for key in keys:
                if sought in table.get(key, ()):
                    table[key].remove(sought)
                if not table.get(key, True):
                    del table[key]
