# SPDX-License-Identifier: Apache-2.0
"""Amounts in words: what unit a column has, and how people read its numbers."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from dm0_ros.robots.layouts import BASE_COLUMNS
from dm0_ros.robots.poses import EULER
from dm0_ros.robots.spec import Space

UNKNOWN = "–"  # where nothing was measured


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
