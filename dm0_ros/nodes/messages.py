# SPDX-License-Identifier: Apache-2.0
"""Plans and statuses in messages, and plans in arrays."""

import array
import math

import numpy as np

from dm0_ros.control import Chunk, Status
from dm0_ros.errors import PlanError
from dm0_ros.msg import ActionChunk, ExecutorStatus, SpatialScaffold
from dm0_ros.nodes.stamps import to_duration, to_seconds, to_time
from dm0_ros.policy.protocol import Latency, Plan
from dm0_ros.policy.reasoning import Thought
from dm0_ros.robots.poses import write_quaternions
from dm0_ros.robots.spec import Space
from dm0_ros.scaffold.places import box_to_pixels, to_pixels

_SPACES = {
    Space.JOINT_POSITION: ActionChunk.JOINT_POSITION,
    Space.EEF_POSE: ActionChunk.EEF_POSE,
    Space.BASE_TWIST: ActionChunk.BASE_TWIST,
}


def chunk_from_plan(plan: Plan) -> ActionChunk:
    """The message of a plan. Header, sequence, epoch, instruction and policy are the caller's.

    Poses are sent with quaternions, whatever angles the policy gives.
    """
    names, values = plan.names, plan.values
    if plan.space is Space.EEF_POSE:
        names, values = write_quaternions(names, values)
    message = ActionChunk(
        start=to_time(plan.start),
        step=to_duration(plan.step),
        space=_SPACES[plan.space],
        names=list(names),
        rows=len(values),
        progress=float(plan.progress),
    )
    message.values = array.array("d", np.ascontiguousarray(values, np.float64).tobytes())
    latency = plan.latency
    message.latency_ms = [latency.preprocessing, latency.prefix, latency.reasoning, latency.flow]
    return message


def plan_from_chunk(message: ActionChunk) -> Plan:
    """The plan in a message.

    Raises `PlanError` where its counts contradict each other, or its space or step make no sense.
    """
    spaces = {value: space for space, value in _SPACES.items()}
    shape = (message.rows, len(message.names))
    if len(message.values) != shape[0] * shape[1] or not message.values:
        raise PlanError(
            f"plan {message.sequence}: {len(message.values)} values for {shape[0]} rows of "
            f"{shape[1]} columns; its publisher is at fault"
        )
    if message.space not in spaces:
        raise PlanError(f"plan {message.sequence}: there is no space {message.space}")
    step = to_seconds(message.step)
    if step <= 0:
        raise PlanError(f"plan {message.sequence}: its step of {step} s must be positive")
    return Plan(
        start=to_seconds(message.start),
        step=step,
        space=spaces[message.space],
        names=tuple(message.names),
        values=np.array(message.values, np.float64).reshape(shape),
        progress=message.progress,
        latency=Latency(*map(float, message.latency_ms)),
    )


def message_from_thought(thought: Thought, frame: str) -> SpatialScaffold:
    """The message of a thought about a picture in ``frame``; one that was refused shows nothing.

    A pair of NaN stands between the paths of two arms.
    """
    message = SpatialScaffold(
        view=thought.view,
        width=thought.width,
        height=thought.height,
        box=[math.nan] * 4,
        text=thought.text,
        valid=thought.valid,
        error=thought.rejection,
    )
    message.header.stamp, message.header.frame_id = to_time(thought.stamp), frame
    scaffold, size = thought.scaffold, (thought.width, thought.height)
    if scaffold is None:
        return message
    message.subtask = scaffold.subtask
    message.action_tokens = list(scaffold.actions)
    if scaffold.box is not None:
        message.box = box_to_pixels(scaffold.box, *size)
    trajectory: list[float] = []
    for path in scaffold.paths.values():
        trajectory += [math.nan] * 2 * bool(trajectory) + to_pixels(path, *size).ravel().tolist()
    message.trajectory = trajectory
    return message


def read_chunk(message: ActionChunk) -> Chunk:
    """What the executor needs of a message; for errors see `plan_from_chunk`."""
    plan = plan_from_chunk(message)
    return Chunk(
        start=plan.start,
        step=plan.step,
        space=plan.space,
        names=plan.names,
        values=plan.values,
        sequence=message.sequence,
        epoch=message.epoch,
    )


def message_from_status(status: Status, now: float) -> ExecutorStatus:
    """The message of what the executor does at ``now`` (s)."""
    message = ExecutorStatus(
        state=int(status.state),
        reason=status.reason,
        needs_reset=status.needs_reset,
        epoch=status.epoch,
        sequence=status.sequence,
        time_left=status.time_left,
        observation_age=status.observation_age,
        seam=status.seam,
        limited=list(status.limited),
        dropped=status.dropped,
        period_p99=status.period_p99,
    )
    message.header.stamp = to_time(now)
    return message
