# SPDX-License-Identifier: Apache-2.0
"""Find and read a robot by name or path."""

from dataclasses import replace
from pathlib import Path

from dm0_ros.errors import RobotError
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
