# SPDX-License-Identifier: Apache-2.0
"""What goes into the fast network and what comes out, as numpy arrays on the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from dm0_ros.errors import ObservationError
from dm0_ros.model import DM0Config
from dm0_ros.model.reasoning import Text


@dataclass(frozen=True)
class Committed:
    """What is left of the chunk under way: the new one is made to agree, see `model.guidance`."""

    rows: np.ndarray  # float32 (n, D), normalised; row 0 is due when row 0 of the new chunk is
    delay: int  # rows that will be executed whatever comes
    executed: int  # rows of each chunk that are executed before the next one


@dataclass(frozen=True)
class Request:
    """One robot's observation: H rows of D actions are wanted for it."""

    frames: tuple[np.ndarray, ...]  # uint8 (h, w, 3) RGB of each view that is there, in slot order
    token_ids: np.ndarray  # int64 (T,), valid ones only
    noise: np.ndarray  # float32 (H, D) that the flow starts from
    progress: float | None = None  # in [0, 1]; given exactly when the network has a progress head
    committed: Committed | None = None  # None: a first chunk
    # int64 (U,): read behind `token_ids` where text is written
    cue_ids: np.ndarray = field(default_factory=partial(np.zeros, 0, np.int64))


@dataclass(frozen=True)
class Result:
    """What the network answers to a request."""

    actions: np.ndarray  # float32 (H, D), normalised
    progress: float | None  # the least that a step predicts for the chunk's end
    text: Text | None = None  # where it was asked for


def check_requests(requests: Sequence[Request], room: int, config: DM0Config) -> None:
    """Raise `ObservationError` where requests do not fit the network or each other.

    `room`: tokens of text that the engine can take from each.
    """
    if not requests:
        raise ObservationError("no request: give at least one observation")
    views = {len(request.frames) for request in requests}
    if len(views) != 1:
        raise ObservationError(
            f"observations of one batch have {sorted(views)} views; give those with the same "
            "number of views together"
        )
    for request in requests:
        _check_frames(request.frames)
        _check_text(request.token_ids, config.llm.vocab_size, room)
        _check_text(request.cue_ids, config.llm.vocab_size, room - len(request.token_ids))
        if not len(request.frames) and not len(request.token_ids):
            raise ObservationError("an observation has neither a picture nor text")
        rows = (config.chunk_size, config.action_dim)
        if request.noise.shape != rows:
            raise ObservationError(f"noise has shape {request.noise.shape}; it must be {rows}")
        if request.committed is not None:
            _check_committed(request.committed, rows)
        if (request.progress is not None) != config.progress:
            raise ObservationError(
                "the network has a progress head: give the task's progress"
                if config.progress
                else "progress was given, but this network has no progress head"
            )


def _check_committed(committed: Committed, shape: tuple[int, int]) -> None:
    found, (horizon, width) = committed.rows.shape, shape
    if len(found) != 2 or found[1] != width or not np.isfinite(committed.rows).all():
        raise ObservationError(
            f"committed rows have shape {found}; they must be (n, {width}) and finite"
        )
    delay, executed = committed.delay, committed.executed
    if not 0 <= delay <= executed <= horizon - delay or len(committed.rows) < delay:
        raise ObservationError(
            f"a delay of {delay} rows and {executed} executed ones, {len(committed.rows)} of them "
            f"left, do not fit a chunk of {horizon}: it must be delay <= executed <= horizon - "
            "delay"
        )


def _check_frames(frames: Sequence[np.ndarray]) -> None:
    for number, frame in enumerate(frames):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
            raise ObservationError(
                f"view {number}: pixels are {frame.dtype} of shape {frame.shape}; "
                "they must be uint8 (height, width, 3), RGB"
            )


def _check_text(token_ids: np.ndarray, vocabulary: int, limit: int) -> None:
    if token_ids.ndim != 1 or token_ids.dtype != np.int64:
        raise ObservationError(
            f"token ids are {token_ids.dtype} of shape {token_ids.shape}; they must be int64 (T,)"
        )
    if len(token_ids) > limit:
        raise ObservationError(
            f"the text has {len(token_ids)} tokens, there is room for {max(limit, 0)}; "
            "shorten the instruction, or raise the engine's text_limit"
        )
    if len(token_ids) and not 0 <= token_ids.min() <= token_ids.max() < vocabulary:
        raise ObservationError(
            f"token ids run from {token_ids.min()} to {token_ids.max()}, the network knows 0 to "
            f"{vocabulary - 1}: use the tokenizer that came with the checkpoint"
        )
