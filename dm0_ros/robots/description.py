# SPDX-License-Identifier: Apache-2.0
"""A robot's URDF: where it lies, its text, and whether it has what the robot's YAML names."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers.expat import ExpatError

import xacro

from dm0_ros.errors import ResourceError, RobotError
from dm0_ros.resources import find_resource
from dm0_ros.robots.spec import RobotSpec


def find_description(spec: RobotSpec, folder: Path) -> RobotSpec:
    """The robot with the absolute path of its URDF: beside its YAML, or else in urdf/.

    Raises `RobotError` where it lies in neither.
    """
    path = folder / spec.urdf.file
    if not path.is_file():
        try:
            path = find_resource("urdf", spec.urdf.file)
        except ResourceError as cause:
            message = f"there is no such file in {folder}, beside the YAML. {cause}"
            raise RobotError(message, key=("urdf", "file")) from cause
    return replace(spec, urdf=replace(spec.urdf, file=str(path.resolve())))


def load_urdf(spec: RobotSpec) -> str:
    """The robot's URDF as XML text, expanded by xacro. Raises `RobotError` where it is broken."""
    path = spec.urdf.file
    try:
        return xacro.process_file(path, mappings=spec.urdf.arguments).toxml()
    except (xacro.XacroException, ExpatError, OSError) as cause:
        message = f"{path}: xacro cannot expand it: {cause}"
        raise RobotError(message, key=("urdf",)) from cause


def find_root(urdf: str) -> str:
    """Name of the link that hangs on no joint."""
    tree = ElementTree.fromstring(urdf)
    inner = {child.get("link") for child in tree.iterfind("joint/child")}
    (root,) = [name for link in tree.iterfind("link") if (name := link.get("name")) not in inner]
    return root


def check_description(spec: RobotSpec) -> None:
    """Raises `RobotError` where the URDF lacks a joint or a link that the robot's YAML names."""
    root = ElementTree.fromstring(load_urdf(spec))
    joints = [joint.get("name", "") for joint in root.iter("joint") if joint.get("type")]
    links = [link.get("name", "") for link in root.iter("link")]
    named = [("joint", name, ("joints", i, "name")) for i, name in enumerate(spec.joint_names)]
    for index, arm in enumerate(spec.end_effectors):
        for key in ("base", "tip", "tool"):
            named.append(("link", getattr(arm, key), ("end_effectors", index, key)))
    cameras = spec.simulation.cameras if spec.simulation else {}
    for slot, camera in cameras.items():
        if camera.link is not None:
            named.append(("link", camera.link, ("simulation", "cameras", slot, "link")))
    for kind, name, key in named:
        known = joints if kind == "joint" else links
        if name not in known:
            raise RobotError(
                f"{spec.urdf.file} has no {kind} {name}; its {kind}s are {', '.join(known)}",
                key=key,
            )
