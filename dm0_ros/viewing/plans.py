# SPDX-License-Identifier: Apache-2.0
"""Plans out of messages, whatever read them, and what they want at a moment."""

import numpy as np

from dm0_ros.control.plan import Chunk
from dm0_ros.errors import PlanError
from dm0_ros.robots.spec import Space

# the constants of dm0_ros/msg/ActionChunk
_SPACES = (Space.JOINT_POSITION, Space.EEF_POSE, Space.BASE_TWIST)


def to_seconds(stamp) -> float:
    """Seconds of a message's time or duration."""
    return stamp.sec + stamp.nanosec / 1e9


def read_plan(message) -> Chunk:
    """The plan in a dm0_ros/ActionChunk.

    Raises `PlanError` where its counts contradict each other, or its space or step make no sense.
    """
    values = np.array(message.values, float)
    rows, columns, step = int(message.rows), len(message.names), to_seconds(message.step)
    if not len(values) or len(values) != rows * columns:
        raise PlanError(
            f"plan {message.sequence}: {len(values)} values for {rows} rows of {columns} columns"
        )
    if message.space >= len(_SPACES) or step <= 0:
        raise PlanError(f"plan {message.sequence}: space {message.space}, step {step} s")
    return Chunk(
        start=to_seconds(message.start),
        step=step,
        space=_SPACES[message.space],
        names=tuple(message.names),
        values=values.reshape(rows, columns),
        sequence=int(message.sequence),
        epoch=int(message.epoch),
    )


def end_of(plan: Chunk) -> float:
    """When a plan is over, s: its last row is held for one step."""
    return plan.start + plan.step * len(plan.values)


def wanted_at(plan: Chunk, moment: float) -> dict[str, float]:
    """What a plan wants at a moment (s), by column; nothing before it begins or after its end.

    Straight lines between rows: what the policy wrote, not what the executor makes of it.
    """
    if not plan.start <= moment < end_of(plan):
        return {}
    times = plan.start + plan.step * np.arange(len(plan.values))
    columns = zip(plan.names, plan.values.T, strict=True)
    return {name: float(np.interp(moment, times, column)) for name, column in columns}
