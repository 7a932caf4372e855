# SPDX-License-Identifier: Apache-2.0
"""Robots as data: what config/ and urdf/ say about one robot, and its kinematics."""

from dm0_ros.robots.loading import load_robot
from dm0_ros.robots.spec import RobotSpec

__all__ = ["RobotSpec", "load_robot"]
