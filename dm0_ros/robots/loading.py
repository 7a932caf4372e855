# SPDX-License-Identifier: Apache-2.0
"""Find and read a robot by name or path."""

from pathlib import Path

from dm0_ros.resources import find_resource
from dm0_ros.robots.parsing import build, read_yaml
from dm0_ros.robots.spec import RobotSpec


def load_robot(name_or_path: str | Path) -> RobotSpec:
    """The robot ``config/<name>.yaml``, or the one in the YAML file at that path.

    Raises `RobotError` that names the file and the key where something is wrong.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = find_resource("config", f"{name_or_path}.yaml")
    return build(RobotSpec, read_yaml(path), path.name)
