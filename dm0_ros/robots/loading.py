# SPDX-License-Identifier: Apache-2.0
"""Find and read a robot by name or path."""

from dataclasses import replace
from pathlib import Path

from dm0_ros.errors import RobotError
from dm0_ros.resources import find_config
from dm0_ros.robots.description import check_description, find_description
from dm0_ros.robots.marks import Section, read_yaml
from dm0_ros.robots.parsing import build, locate
from dm0_ros.robots.spec import RobotSpec


def load_robot(name_or_path: str | Path) -> RobotSpec:
    """The robot ``config/<name>.yaml``, or the one in the YAML file at that path.

    A file may begin with ``extends:`` and a robot, by name or by a path from there: its other keys
    take the place of that robot's. The URDF lies beside the YAML that names it, or else among the
    package's. Raises `RobotError` that names file, line and key where something is wrong.
    """
    section = _read(find_config(name_or_path), ())
    spec = build(RobotSpec, section)
    try:
        spec = find_description(spec, section["urdf"].path.parent)
        check_description(spec)
    except RobotError as flaw:
        raise locate(section, flaw) from flaw
    return spec


def read_sources(name_or_path: str | Path) -> str:
    """The text of a robot's YAML, and behind it of those that it extends, each under its name."""
    text, path = "", find_config(name_or_path)
    while path is not None:
        section = read_yaml(path)
        text += f"# {path.name}\n{path.read_text()}\n"
        path = _find_extended(path, section.get("extends"))
    return text


def _find_extended(path: Path, name: str | None) -> Path | None:
    if name is None:
        return None
    return path.parent / name if name.endswith((".yaml", ".yml")) else find_config(name)


def _read(path: Path, below: tuple[Path, ...]) -> Section:
    """The file's section, put on that of the robot which it extends."""
    section = read_yaml(path)
    if "extends" not in section:
        return section
    line = section.line_of("extends")
    name = section.pop("extends")
    if not isinstance(name, str):
        raise RobotError(f"{path}:{line}: extends: name one robot, found {name!r}")
    other = _find_extended(path, name)
    if other.resolve() in (path.resolve(), *below):
        raise RobotError(f"{path}:{line}: extends: {name} extends this file; end the circle")
    for key, value in _read(other, (path.resolve(), *below)).items():
        section.setdefault(key, value)
    return section


def as_simulated(robot: RobotSpec) -> RobotSpec:
    """The robot with the latencies of its simulation in place of the real ones.

    A servo that pulls with stiffness times distance and is held back by damping times velocity
    follows a steady motion damping / stiffness seconds late. Raises `RobotError` where the robot
    cannot be simulated.
    """
    simulation = robot.simulation
    if simulation is None:
        raise RobotError(f"{robot.name}: its YAML has no 'simulation' section")
    lags = {name: simulation.damping[name] / simulation.stiffness[name] for name in robot.home}
    latencies = {
        "observation_latency": 0.0,
        "actuation_latency": max(lags[name] for name in robot.joint_names),
        "gripper_latency": max((lags[name] for name in robot.gripper_names), default=0.0),
    }
    return replace(robot, executor=replace(robot.executor, **latencies))
