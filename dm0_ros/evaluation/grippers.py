# SPDX-License-Identifier: Apache-2.0
"""When grippers open and close in a plan, and when they did."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from dm0_ros.robots.spec import Gripper

APART = 1.0  # s: switches further from each other are two, not one that is early or late
_DEAD_BAND = 0.2  # of the stroke, around its middle: within it nothing has happened yet
OPENS, CLOSES = 1, -1


class Switch(NamedTuple):
    """A gripper opens or closes; NaN where only one of the two does it."""

    gripper: int  # number among the grippers of the plan
    direction: int  # OPENS or CLOSES
    recorded: float  # s of the graph's clock
    planned: float


def find_switches(
    gripper: Gripper, times: np.ndarray, openings: np.ndarray
) -> list[tuple[float, int]]:
    """When (s) an opening in m (N,) at rising times (N,) leaves one half of the stroke for the
    other, and which way; the middle fifth of the stroke belongs to the half that was left."""
    middle, stroke = (gripper.open + gripper.closed) / 2, gripper.open - gripper.closed
    levels = {side: middle + side * _DEAD_BAND / 2 * stroke for side in (OPENS, CLOSES)}
    known = np.isfinite(openings)
    times, openings = times[known], openings[known]
    if not len(times):
        return []
    found, side = [], OPENS if openings[0] > middle else CLOSES
    for index in range(1, len(times)):
        level = levels[-side]
        if (openings[index] - level) * side >= 0:
            continue
        before, after = openings[index - 1], openings[index]
        # The value before may lie beyond the level where the series began in the dead band.
        share = np.clip((level - before) / (after - before), 0.0, 1.0)
        found.append((float(times[index - 1] + share * (times[index] - times[index - 1])), -side))
        side = -side
    return found


def match_switches(
    number: int,
    recorded: list[tuple[float, int]],
    planned: list[tuple[float, int]],
    begin: float,
    end: float,
) -> Iterable[Switch]:
    """Pairs of switches the same way, the nearest first; then those that have no partner.

    One without a partner less than `APART` from an end of the time that is looked at is left out:
    its partner may lie outside.
    """
    pairs = sorted(
        (abs(plan - record), i, j)
        for i, (record, way) in enumerate(recorded)
        for j, (plan, other) in enumerate(planned)
        if way == other and abs(plan - record) <= APART
    )
    lone_records, lone_plans = dict(enumerate(recorded)), dict(enumerate(planned))
    for _, i, j in pairs:
        if i in lone_records and j in lone_plans:
            record, way = lone_records.pop(i)
            yield Switch(number, way, record, lone_plans.pop(j)[0])
    nan = float("nan")
    for record, way in lone_records.values():
        if begin + APART <= record <= end - APART:
            yield Switch(number, way, record, nan)
    for plan, way in lone_plans.values():
        if begin + APART <= plan <= end - APART:
            yield Switch(number, way, nan, plan)
