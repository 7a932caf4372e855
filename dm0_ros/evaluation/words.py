# SPDX-License-Identifier: Apache-2.0
"""Amounts in words: what unit a column has, and how people read its numbers."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

from dm0_ros.robots.layouts import BASE_COLUMNS
from dm0_ros.robots.poses import EULER
from dm0_ros.robots.spec import Space

UNKNOWN = "–"  # where nothing was measured


class Figure(NamedTuple):
    """What a figure of `summarise` is called, in full and short, and its unit."""

    label: str
    short: str
    unit: str


FIGURES = {
    "normalised_error": Figure(
        "distance from what the robot did, of the column's range", "from what was done", "share"
    ),
    "normalised_error_of_plans": Figure(
        "distance from the recorded plan, of the range", "from recorded plans", "share"
    ),
    "pose_mm": Figure("place of the end effector", "end effector: place", "mm"),
    "pose_degrees": Figure("turn of the end effector", "end effector: turn", "degrees"),
    "overlap_normalised": Figure(
        "distance of successive plans where they overlap, of the range", "plan to plan", "share"
    ),
    "velocity_rms": Figure("velocity of rehearsed commands (RMS)", "velocity", "rad/s"),
    "acceleration_rms": Figure(
        "acceleration of rehearsed commands (RMS)", "acceleration", "rad/s²"
    ),
    "jerk_rms": Figure("jerk of rehearsed commands (RMS)", "jerk", "rad/s³"),
    "switch_late_s": Figure(
        "grippers: how late they open and close (negative: early)", "grippers late", "s"
    ),
    "switch_off_s": Figure("grippers: how far off in time", "grippers off", "s"),
    "switches_missed": Figure(
        "grippers: recorded switches without one in the plan", "switches missed", "share"
    ),
    "switches_spurious": Figure(
        "grippers: planned switches without a recorded one", "switches too many", "share"
    ),
    "progress_error": Figure(
        "progress: distance from the time that has passed", "progress", "share"
    ),
    "progress_bias": Figure("progress: how much too far it is told", "progress too far", "share"),
    "scaffold_valid": Figure("reasoning: texts that can be read", "texts read", "share"),
    "scaffold_iou": Figure("reasoning: goal boxes, intersection over union", "goal boxes", ""),
    "scaffold_path_error": Figure(
        "reasoning: told path, of the picture's width", "told path", "share"
    ),
}


def find_unit(name: str, space: Space, joints: Collection[str], grippers: Collection[str]) -> str:
    """Of a column of a plan: rad, m, m/s, rad/s; empty where its numbers have none."""
    if space is Space.EEF_COMMAND:
        return ""
    if name in grippers:
        return "m"
    if name in BASE_COLUMNS:
        return "rad/s" if name == "wz" else "m/s"
    if name in joints:
        return "rad"
    return "rad" if name.rpartition("_")[2] in EULER else "m"


def say_amount(value: float, unit: str) -> str:
    """0.52 rad (30°), 12 mm, 0.3 m/s."""
    if unit == "rad":
        degrees = math.degrees(value)
        return f"{value:.2g} rad ({degrees:.{0 if abs(degrees) >= 10 else 1}f}°)"
    if unit == "m":
        return f"{value * 1e3:.0f} mm" if abs(value) >= 0.01 else f"{value * 1e3:.1f} mm"
    return f"{value:.2g} {unit}".strip()


def say_share(share: float) -> str:
    """46 %, 3.1 %."""
    return f"{100 * share:.{0 if abs(share) >= 0.1 else 1}f} %"


def say_figure(value: float | None, unit: str) -> str:
    """A number in its unit: ``share`` as per cent, ``degrees`` with their sign, m as mm."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    number, sign = _say_number(value, unit)
    return f"{number}{sign}"


def _say_number(value: float, unit: str) -> tuple[str, str]:
    if unit == "share":
        return f"{100 * value:.1f}", " %"
    if unit == "degrees":
        return f"{value:.2f}", "°"
    if unit == "m":
        return f"{1e3 * value:.1f}", " mm"
    return f"{value:.3g}", f" {unit}" if unit else ""


def say_interval(estimate: Mapping, unit: str) -> str:
    """From where to where an estimate may be; see `Estimates`."""
    low, high = estimate["low"], estimate["high"]
    if low is None or high is None:
        return UNKNOWN
    return f"{_say_number(low, unit)[0]} to {say_figure(high, unit)}"


def say_count(count: int, noun: str) -> str:
    """1 plan, 2 plans."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
