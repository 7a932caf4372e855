# SPDX-License-Identifier: Apache-2.0
"""Amounts in words: what unit a column has, and how people read its numbers."""

from __future__ import annotations

import math

from dm0_ros.robots.layouts import BASE_COLUMNS
from dm0_ros.robots.poses import EULER
from dm0_ros.robots.spec import RobotSpec, Space


def find_unit(name: str, space: Space, robot: RobotSpec) -> str:
    """Of a column of a plan: rad, m, m/s, rad/s; empty where its numbers have none."""
    if space is Space.EEF_COMMAND:
        return ""
    if name in robot.gripper_names:
        return "m"
    if name in BASE_COLUMNS:
        return "rad/s" if name == "wz" else "m/s"
    if name in robot.joint_names:
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


def say_count(count: int, noun: str) -> str:
    """1 plan, 2 plans."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
