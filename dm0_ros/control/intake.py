# SPDX-License-Identifier: Apache-2.0
"""When the rows of a chunk are due, in the executor's own terms."""

import numpy as np

from dm0_ros.control.clock import Clock
from dm0_ros.control.plan import Chunk, Plan
from dm0_ros.errors import PlanError
from dm0_ros.robots.spec import ExecutorSettings

_FURTHEST_START = 5.0  # s: a plan that begins later than this comes from another clock


def plan_time(start: float, now: float, settings: ExecutorSettings, clock: Clock) -> float:
    """Plan time at which a row that belongs to the stamp ``start`` is to be commanded.

    A picture is stamped later than what it shows by the observation latency, and the arm is where
    it was told to be later by the actuation latency: both make the command earlier.
    """
    lead = settings.observation_latency + settings.actuation_latency
    return clock.plan_time(start - lead, now)


def anchor(
    chunk: Chunk, values: np.ndarray, now: float, settings: ExecutorSettings, clock: Clock
) -> Plan:
    """The chunk as a plan of ``values`` (H, D). Raises `PlanError` where its time is absurd."""
    if chunk.start > now + _FURTHEST_START:
        raise PlanError(
            f"plan {chunk.sequence} starts in {chunk.start - now:.1f} s; check that the clocks "
            "of policy and executor agree"
        )
    start = plan_time(chunk.start, now, settings, clock)
    plan = Plan(chunk.sequence, start, chunk.step, values)
    if plan.end <= clock.due:
        raise PlanError(
            f"plan {chunk.sequence} ended {clock.due - plan.end:.3f} s ago; it came too late"
        )
    return plan
