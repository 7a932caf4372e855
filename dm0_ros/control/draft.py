# SPDX-License-Identifier: Apache-2.0
"""A plan on its way to becoming the motion.

To find a motion within the limits takes about a millisecond, too long for a tick to wait. So it is
done on a snapshot, without anybody's lock, and counts from a moment that is still to come.
"""

from dataclasses import dataclass

import numpy as np

from dm0_ros.control.certificate import certify, explain
from dm0_ros.control.clock import Pace, retime
from dm0_ros.control.curve import Curve
from dm0_ros.control.limits import Limits
from dm0_ros.control.plan import Chunk, Plan
from dm0_ros.control.seam import Seam
from dm0_ros.errors import PlanError


@dataclass
class Draft:
    """What `design` starts from, and then what came of it."""

    chunk: Chunk
    plan: Plan
    prepared: Plan  # what the seam wants followed of it
    measured: np.ndarray  # (D,)
    seam: Seam
    limits: Limits
    time: float  # s of own time, of the snapshot
    due: float  # s of plan time, then
    until: float  # s of own time up to which the motion does not change
    begin: float  # s of plan time from which on the seam may
    pace: Pace
    base: Curve | None  # motion under way, by own time; None where nothing is commanded
    path: Curve  # the same by plan time; or the measured state
    motion: Curve | None = None  # the new one, by own time
    bound: tuple[str, ...] = ()  # limits that it was changed for
    distance: float = 0.0  # rad or m between the two motions where the new one begins

    def design(self) -> None:
        """Find the motion. Raises `PlanError` where there is none within the limits."""
        joined = self.seam.join(self.path, self.prepared, self.begin, self.limits)
        begin = max(self.begin, self.prepared.start)
        arm = self.limits.arm
        gap = np.abs(self.prepared.at(begin)[arm] - self.path.sample(begin)[0])
        self.distance = float(gap.max(initial=0.0))
        self.path = self.path.cut(self.due).then(joined.motion)
        self.motion = retime(self.path, self.pace, self.time)
        self.bound += joined.bound
        self.prepared = self.prepared.stretched(begin, joined.slower)
        if self.time < self.pace.done:
            broken = explain(certify(self.motion).broken(self.limits), self.limits)
            if broken:
                raise PlanError(
                    f"plan {self.plan.sequence} cannot be followed while the pace changes "
                    f"({', '.join(broken)})"
                )
