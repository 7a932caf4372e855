# SPDX-License-Identifier: Apache-2.0
"""Plans to sew together, and when they come: late, jittering, dropped, in bursts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RAMP = 0.5  # s in which a changed goal is approached
STEP_SIZE = 0.2  # rad by which it changes


@dataclass(frozen=True)
class Rows:
    """What one observation led to. Row k belongs to ``start + k * step``."""

    start: float  # s: the observation
    step: float  # s
    values: np.ndarray  # (H, J) rad


@dataclass(frozen=True)
class Synthetic:
    """A policy that sees a smooth motion a little wrong, each time in another way.

    Every plan is off by an offset and a drift of its own, and every row by itself: a lagging
    state, another mode, noise. Sizes are standard deviations.
    """

    seed: int
    middle: tuple[float, ...]  # rad, of every joint's motion
    rows: int = 50
    step: float = 1 / 30  # s
    executed: int = 25  # rows between two observations
    offset: float = 0.02  # rad
    drift: float = 0.03  # rad at the last row
    noise: float = 0.0  # rad, of every row

    @property
    def period(self) -> float:
        """Seconds between two observations."""
        return self.executed * self.step

    def truth(self, times: np.ndarray) -> np.ndarray:
        """The motion (n, J) at ``times`` (n,): two slow sines for each joint."""
        joint = np.arange(len(self.middle))
        slow = 0.6 * np.sin(2 * np.pi * 0.25 * times[:, None] + joint)
        fast = 0.15 * np.sin(2 * np.pi * 0.6 * times[:, None] + 1 + 2 * joint)
        return np.array(self.middle) + slow + fast

    def make(self, number: int, start: float, changed: float | None) -> Rows:
        """Plan ``number``, observed at ``start``; heading elsewhere since ``changed``, if given.

        The same number has the same errors, whenever it is observed.
        """
        random = np.random.default_rng([self.seed, number])
        times = start + self.step * np.arange(self.rows)
        values = self.truth(times) + random.normal(0, self.offset, len(self.middle))
        end = random.normal(0, self.drift, len(self.middle))
        values += np.linspace(0, 1, self.rows)[:, None] * end
        values += random.normal(0, 1, values.shape) * self.noise
        if changed is not None:
            x = np.clip((times - changed) / RAMP, 0, 1)[:, None]
            values += STEP_SIZE * x**3 * (10 - 15 * x + 6 * x * x)
        return Rows(start, self.step, values)


@dataclass(frozen=True)
class Recorded:
    """Plans that a policy made in the simulator, each at the time of its observation."""

    plans: tuple[Rows, ...]
    executed: int

    @property
    def period(self) -> float:
        """Seconds between two observations, of those that stop and go."""
        return self.executed * self.plans[0].step

    def make(self, number: int, start: float, changed: float | None) -> Rows | None:
        """The plan of that number, None after the last; its rows as if observed at ``start``."""
        if number >= len(self.plans):
            return None
        plan = self.plans[number]
        return Rows(start, plan.step, plan.values)


@dataclass(frozen=True)
class Delivery:
    """How plans get from the policy to the robot."""

    delay: float  # s from the observation on
    jitter: float = 0.0  # s: the delay is anything up to this more or less
    drops: float = 0.0  # share of plans that never come
    burst: int = 1  # plans that wait for each other, then come 5 ms apart
    seed: int = 0

    def arrivals(self, observed: Sequence[float]) -> list[float | None]:
        """When each plan comes; None for those that never do."""
        random = np.random.default_rng([self.seed, 7])
        times: list[float | None] = []
        for start in observed:
            late = self.delay + random.uniform(-self.jitter, self.jitter)
            lost = random.random() < self.drops
            times.append(None if lost else start + max(0.0, late))
        for begin in range(0, len(times), self.burst if self.burst > 1 else len(times) + 1):
            group = range(begin, min(begin + self.burst, len(times)))
            last = max((times[k] for k in group if times[k] is not None), default=None)
            for place, k in enumerate(group if self.burst > 1 else ()):
                times[k] = None if times[k] is None else last + 0.005 * place
        return times
