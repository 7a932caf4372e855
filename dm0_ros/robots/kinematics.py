# SPDX-License-Identifier: Apache-2.0
"""Forward kinematics and Jacobian of a serial chain, from a robot's URDF.

Frames are links of the URDF; poses are homogeneous matrices (4, 4); angles rad, lengths m.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
import xacro

from dm0_ros.errors import RobotError
from dm0_ros.resources import find_resource
from dm0_ros.robots.spec import RobotSpec


def load_urdf(spec: RobotSpec) -> str:
    """The robot's URDF as XML text, expanded by xacro. Raises `RobotError` where it is broken."""
    path = find_resource("urdf", spec.urdf.file)
    try:
        return xacro.process_file(str(path), mappings=spec.urdf.arguments).toxml()
    except (xacro.XacroException, ElementTree.ParseError, OSError) as cause:
        raise RobotError(f"{path}: xacro cannot expand it: {cause}") from cause


@dataclass(frozen=True)
class _Link:
    joint: str | None  # name of the moving joint; None where fixed
    origin: np.ndarray  # (4, 4) from the parent link
    axis: np.ndarray  # (3,)
    prismatic: bool


class Chain:
    """The joints between two links of a URDF, root first.

    Raises `RobotError` where a link is unknown or the chain does not lead from base to tip.
    """

    def __init__(self, urdf: str, base: str, tip: str) -> None:
        self.base, self.tip = base, tip
        self._links = _walk(ElementTree.fromstring(urdf), base, tip)
        self.joint_names = tuple(link.joint for link in self._links if link.joint)

    def pose(self, positions: Mapping[str, float]) -> np.ndarray:
        """Pose (4, 4) of the tip in the base for joint positions by name (rad or m)."""
        return self.poses(positions)[-1]

    def poses(self, positions: Mapping[str, float]) -> np.ndarray:
        """Poses (N + 1, 4, 4) of the base and of every link down to the tip, in the base."""
        pose = np.eye(4)
        poses = [pose]
        for link in self._links:
            pose = pose @ link.origin
            if link.joint:
                pose = pose @ _motion(link, positions[link.joint])
            poses.append(pose)
        return np.stack(poses)

    def jacobian(self, positions: Mapping[str, float]) -> np.ndarray:
        """Geometric Jacobian (6, J) of the tip: linear above angular velocity, in the base."""
        poses = self.poses(positions)
        tip = poses[-1, :3, 3]
        columns = []
        for link, pose in zip(self._links, poses[1:], strict=True):
            if link.joint is None:
                continue
            axis = pose[:3, :3] @ link.axis
            if link.prismatic:
                columns.append(np.concatenate([axis, np.zeros(3)]))
            else:
                columns.append(np.concatenate([np.cross(axis, tip - pose[:3, 3]), axis]))
        return np.stack(columns, axis=1)


def _walk(robot: ElementTree.Element, base: str, tip: str) -> list[_Link]:
    parents = {joint.find("child").get("link"): joint for joint in robot.findall("joint")}
    links, link = [], tip
    while link != base:
        if link not in parents:
            raise RobotError(f"the URDF has no chain from link '{base}' to link '{tip}'")
        links.append(_read_joint(parents[link]))
        link = parents[link].find("parent").get("link")
    return links[::-1]


def _read_joint(joint: ElementTree.Element) -> _Link:
    kind = joint.get("type")
    if kind not in ("fixed", "revolute", "continuous", "prismatic"):
        raise RobotError(f"URDF joint '{joint.get('name')}': type {kind} is not supported")
    origin = joint.find("origin")
    matrix = np.eye(4)
    if origin is not None:
        matrix[:3, 3] = _numbers(origin.get("xyz", "0 0 0"))
        matrix[:3, :3] = rotation_from_rpy(_numbers(origin.get("rpy", "0 0 0")))
    axis = joint.find("axis")
    direction = _numbers(axis.get("xyz")) if axis is not None else np.array([1.0, 0.0, 0.0])
    name = None if kind == "fixed" else joint.get("name")
    return _Link(name, matrix, direction / np.linalg.norm(direction), kind == "prismatic")


def _numbers(text: str) -> np.ndarray:
    return np.array([float(word) for word in text.split()])


def _motion(link: _Link, position: float) -> np.ndarray:
    matrix = np.eye(4)
    if link.prismatic:
        matrix[:3, 3] = link.axis * position
    else:
        matrix[:3, :3] = rotation_about(link.axis, position)
    return matrix


def rotation_about(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rotation matrix (3, 3) about a unit axis by an angle in rad (Rodrigues' formula)."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross


def rotation_from_rpy(rpy: np.ndarray) -> np.ndarray:
    """Rotation matrix (3, 3) of roll, pitch, yaw about fixed axes, as URDF defines them."""
    roll, pitch, yaw = rpy
    return (
        rotation_about(np.array([0.0, 0.0, 1.0]), yaw)
        @ rotation_about(np.array([0.0, 1.0, 0.0]), pitch)
        @ rotation_about(np.array([1.0, 0.0, 0.0]), roll)
    )
