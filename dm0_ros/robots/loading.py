# SPDX-License-Identifier: Apache-2.0
"""Find and read a robot by name or path."""

from pathlib import Path

from dm0_ros.errors import RobotError
from dm0_ros.resources import find_resource
from dm0_ros.robots.description import check_description, find_description
from dm0_ros.robots.parsing import build, locate, read_yaml
from dm0_ros.robots.spec import RobotSpec


def load_robot(name_or_path: str | Path) -> RobotSpec:
    """The robot ``config/<name>.yaml``, or the one in the YAML file at that path.

    Its URDF lies beside the YAML, or else among the package's. Raises `RobotError` that names the
    file, the line and the key where something is wrong.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = find_resource("config", f"{name_or_path}.yaml")
    section = read_yaml(path)
    spec = build(RobotSpec, section)
    try:
        spec = find_description(spec, path.parent)
        check_description(spec)
    except RobotError as flaw:
        raise locate(section, flaw) from flaw
    return spec
