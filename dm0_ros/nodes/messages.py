# SPDX-License-Identifier: Apache-2.0
"""Plans and statuses in messages, and plans in arrays."""

import array
import math

import numpy as np

from dm0_ros.control import Chunk, Status
from dm0_ros.msg import ActionChunk, ExecutorStatus, SpatialScaffold
from dm0_ros.nodes.stamps import to_duration, to_time
from dm0_ros.policy.protocol import Plan
from dm0_ros.policy.reasoning import Thought
from dm0_ros.policy.wire import SPACES, as_published, read_plan
from dm0_ros.scaffold.places import box_to_pixels, to_pixels


def chunk_from_plan(plan: Plan) -> ActionChunk:
    """The message of a plan. Header, sequence, epoch, instruction and policy are the caller's.

    Poses are sent with quaternions, whatever angles the policy gives.
    """
    names, values = as_published(plan)
    message = ActionChunk(
        start=to_time(plan.start),
        step=to_duration(plan.step),
        space=SPACES.index(plan.space),
        names=list(names),
        rows=len(values),
        progress=float(plan.progress),
    )
    message.values = array.array("d", np.ascontiguousarray(values, np.float64).tobytes())
    latency = plan.latency
    message.latency_ms = [latency.preprocessing, latency.prefix, latency.reasoning, latency.flow]
    return message


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
        # The setter takes numbers of the message's own type only, where it checks at all.
        message.box = box_to_pixels(scaffold.box, *size).astype(np.float32)
    trajectory: list[float] = []
    for path in scaffold.paths.values():
        trajectory += [math.nan] * 2 * bool(trajectory) + to_pixels(path, *size).ravel().tolist()
    message.trajectory = trajectory
    return message


def read_chunk(message: ActionChunk) -> Chunk:
    """What the executor needs of a message; for errors see `read_plan`."""
    plan = read_plan(message)
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
