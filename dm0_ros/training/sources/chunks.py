# SPDX-License-Identifier: Apache-2.0
"""Chunks cut from the numbers of an episode: where the robot is to be, step by step from a frame.

As DM0 was trained: an action is the next state, a chunk that reaches beyond the end repeats the
last action, and angles go on through half a turn without a leap.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dm0_ros.robots.poses import find_angles
from dm0_ros.robots.spec import Layout, Space
from dm0_ros.training.sources.sample import BrokenEpisodeError, Numbers
from dm0_ros.training.sources.settings import ActionSource, SourceSettings


@dataclass(frozen=True, eq=False)
class Track:
    """The numbers of an episode of F frames, in the units of the data."""

    times: np.ndarray  # (F,) s
    states: np.ndarray  # (F, S) in the order of the layout's state columns
    actions: np.ndarray | None  # (F, C) in the order of its columns; None: the next states
    instructions: tuple[str, ...]  # one a frame
    answers: tuple[str | None, ...] = ()  # one a frame, where the data have any


def check_track(track: Track, layout: Layout, settings: SourceSettings, name: str) -> None:
    """Raises `BrokenEpisodeError` with the episode's ``name`` where its numbers are of no use."""
    shortest = settings.shortest if settings.shortest is not None else settings.rows
    count = len(track.times)
    if count < max(shortest, 2):
        raise BrokenEpisodeError(
            f"{name}: has {count} frames, fewer than {max(shortest, 2)}; set 'shortest' lower "
            "if such episodes are wanted"
        )
    parts = {"states": (track.states, layout.state_columns)}
    if track.actions is not None:
        parts["actions"] = (track.actions, layout.columns)
    for what, (values, columns) in parts.items():
        if values.shape != (count, len(columns)):
            raise BrokenEpisodeError(
                f"{name}: its {what} have shape {values.shape}; expected {count} frames of "
                f"{len(columns)} columns ({', '.join(columns)})"
            )
        if not np.isfinite(values).all():
            frame, column = np.argwhere(~np.isfinite(values))[0]
            raise BrokenEpisodeError(
                f"{name}: {what[:-1]} of {columns[column]} is {values[frame, column]} in frame "
                f"{frame}; repair it, or leave the episode out"
            )
    if not (np.isfinite(track.times).all() and np.all(np.diff(track.times) > 0)):
        raise BrokenEpisodeError(f"{name}: its times do not rise from frame to frame")


def count_samples(frames: int, settings: SourceSettings) -> int:
    """Samples in an episode: of next states the last frame has none."""
    usable = frames - (settings.actions is ActionSource.NEXT_STATE)
    return max(math.ceil(usable / settings.every), 0)


def cut_chunks(
    track: Track, layout: Layout, settings: SourceSettings, frames: Sequence[int]
) -> Numbers:
    """States and chunks of some frames of a checked track; SI and radians.

    Rows lie ``settings.step`` apart, whatever the data's rate is, interpolated between frames.
    Angles of poses are in [-pi, pi) in states; in rows they continue from there.
    """
    columns, degrees = layout.state_columns, settings.degrees
    states = _to_radians(layout.states_from_data(track.states), columns, degrees)
    if track.actions is None:
        actions, ahead = states, 1
    else:
        actions = _to_radians(layout.from_data(track.actions), layout.columns, degrees)
        ahead = 0
    turning = _pose_angles(layout, layout.columns)
    actions = np.where(turning, np.unwrap(actions, axis=0), actions)
    offsets = (np.arange(settings.rows) + ahead) * settings.step
    times = track.times[list(frames)]
    # np.interp keeps the last value beyond the end: the tail is repeated
    due = times[:, None] + offsets
    rows = np.stack([np.interp(due, track.times, column) for column in actions.T], axis=-1)
    angles = _pose_angles(layout, layout.state_columns)
    states = np.where(angles, _wrap(states), states)[list(frames)]
    rows = _continue_from(rows, states, layout, turning)
    return Numbers(states.astype(np.float32), rows.astype(np.float32))


def measure_progress(track: Track, settings: SourceSettings, frame: int) -> tuple[float, float]:
    """Shares of an episode's time that have passed at a frame, and at its chunk's end."""
    start, end = track.times[0], track.times[-1]
    now = track.times[frame]
    later = min(now + settings.rows * settings.step, end)
    return float((now - start) / (end - start)), float((later - start) / (end - start))


def _to_radians(values: np.ndarray, columns: Sequence[str], degrees: Sequence[str]) -> np.ndarray:
    """Values (F, N) of ``columns``, of which the data have some in degrees."""
    return np.where(np.isin(columns, degrees), np.radians(values), values)


def _continue_from(
    rows: np.ndarray, states: np.ndarray, layout: Layout, turning: np.ndarray
) -> np.ndarray:
    """Rows whose angles start within half a turn of the state's."""
    turns = np.rint((rows[:, 0] - layout.align(states)) / math.tau) * math.tau
    return np.where(turning, rows - turns[:, None], rows)


def _pose_angles(layout: Layout, columns: Sequence[str]) -> np.ndarray:
    if layout.space is not Space.EEF_POSE:
        return np.zeros(len(columns), dtype=bool)
    return find_angles(columns)


def _wrap(angles: np.ndarray) -> np.ndarray:
    return (angles + math.pi) % math.tau - math.pi
