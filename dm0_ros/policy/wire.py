# SPDX-License-Identifier: Apache-2.0
"""Plans as messages have them, whatever reads or writes those."""

from typing import Any

import numpy as np

from dm0_ros.errors import PlanError
from dm0_ros.policy.protocol import Latency, Plan
from dm0_ros.robots.poses import write_quaternions
from dm0_ros.robots.spec import Space
from dm0_ros.stamps import to_seconds

SPACES = (Space.JOINT_POSITION, Space.EEF_POSE, Space.BASE_TWIST)
"""By the constants of dm0_ros/msg/ActionChunk."""


def read_plan(message: Any) -> Plan:
    """The plan in a dm0_ros/ActionChunk, poses with quaternions as they are there.

    Raises `PlanError` where its counts contradict each other, or its space or step make no sense.
    """
    rows, columns = int(message.rows), len(message.names)
    if not len(message.values) or len(message.values) != rows * columns:
        raise PlanError(
            f"plan {message.sequence}: {len(message.values)} values for {rows} rows of "
            f"{columns} columns; its publisher is at fault"
        )
    if message.space >= len(SPACES):
        raise PlanError(f"plan {message.sequence}: there is no space {message.space}")
    step = to_seconds(message.step)
    if step <= 0:
        raise PlanError(f"plan {message.sequence}: its step of {step} s must be positive")
    return Plan(
        start=to_seconds(message.start),
        step=step,
        space=SPACES[message.space],
        names=tuple(message.names),
        values=np.array(message.values, np.float64).reshape(rows, columns),
        progress=float(message.progress),
        latency=Latency(*map(float, message.latency_ms)),
    )


def as_published(plan: Plan) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and values (H, C) of a policy's plan as its message has them: with quaternions."""
    if plan.space is Space.EEF_POSE:
        return write_quaternions(plan.names, plan.values)
    return plan.names, plan.values
