# SPDX-License-Identifier: Apache-2.0
"""The graph, described once: which processes, with which parameters, in which environment.

`launch/*.launch.py`, `dm0 up` and the demo read it. Plain data: needs no ROS to import.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dm0_ros.errors import Dm0Error
from dm0_ros.resources import find_resource

if TYPE_CHECKING:
    from dm0_ros.robots.spec import RobotSpec

EMPTY = "''"  # an empty text among ROS arguments, which are YAML
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")


@dataclass(frozen=True)
class Argument:
    """Something that may be chosen at start, on every way to start."""

    name: str
    default: str
    description: str
    choices: tuple[str, ...] = ()


_FLAG = ("true", "false")

# `robot` comes from the launch file's name and the argument of `dm0 up`.
ARGUMENTS = (
    Argument("sim", "false", "Simulate robot and cameras instead of using real ones.", _FLAG),
    Argument("checkpoint", "dm0-nano", "Checkpoint by name, or a folder's path."),
    Argument("device", "cpu", "Where the network works: cpu, cuda, cuda:1 ..."),
    Argument("compressed", "false", "JPEG pictures instead of raw ones.", _FLAG),
    Argument("overlay", "true", "Draw the plan on the pictures and as markers.", _FLAG),
    Argument("autostart", "true", "Configure and activate the lifecycle nodes at once.", _FLAG),
    Argument("namespace", "", "Put before every relative name of nodes and topics."),
    Argument(
        "params_file", "", "YAML of ROS parameters; wins over everything but these arguments."
    ),
    Argument(
        "use_sim_time", "false", "Take the time from /clock; with sim, publish it too.", _FLAG
    ),
    Argument("seed", "0", "Seed of the simulated scenes."),
    Argument(
        "world",
        "",
        "World to simulate, in config/worlds/ or for a base habitat:FILE; empty: the robot's own.",
    ),
    Argument("record", "false", "Record every topic into a bag.", _FLAG),
    Argument("bag", "", "With record: folder of the new bag; empty: bags/<robot>_<time>."),
    Argument("log_level", "info", "Least severity that nodes log.", LOG_LEVELS),
)


@dataclass(frozen=True)
class Process:
    """One node in a process of its own: ``python -m dm0_ros.nodes.<name>``."""

    name: str  # of the node and of the package's executable
    lifecycle: bool
    parameters: Mapping[str, Any]
    remaps: Mapping[str, str] = field(default_factory=dict)


def defaults() -> dict[str, str]:
    """Every argument's default by name."""
    return {argument.name: argument.default for argument in ARGUMENTS}


def describe(robot: str, **chosen: str) -> tuple[Process, ...]:
    """The processes of the graph for a robot in config/ or at the path of a YAML.

    ``chosen`` overrides `defaults`, as text. Raises `Dm0Error` for an unknown argument or choice.
    """
    from dm0_ros.robots.loading import load_robot  # `dm0 --help` need not wait for pinocchio

    values, spec = _check(chosen), load_robot(robot)
    recorders = ()
    if values["record"] == "true":
        recorders = (describe_recorder(robot, values["bag"], actions=True),)
    return (*recorders, *_describe_graph(robot, spec, values))


def describe_recorder(robot: str, path: str, **parameters: Any) -> Process:
    """The recorder of a robot's graph; the bag at ``path``, or named after robot and time."""
    if not path:
        moment = time.strftime("%Y-%m-%d_%H-%M-%S")
        path = os.path.join("bags", f"{Path(robot).stem}_{moment}")
    # Stamps are what they are: a bag's own times are those of reception.
    return Process("recorder", False, {"path": path, "robot": robot, **parameters})


def _describe_graph(robot: str, spec: RobotSpec, values: Mapping[str, str]) -> tuple[Process, ...]:
    sim_time = values["use_sim_time"] == "true"
    common = {"robot": robot, "use_sim_time": sim_time}
    pictures = {"compressed": values["compressed"] == "true"}
    starts = {"autostart": values["autostart"] == "true"}
    network = {"checkpoint": values["checkpoint"], "device": values["device"]}
    # The simulator makes the time that the others use: it must not wait for it.
    clock = {"use_sim_time": False, "publish_clock": sim_time}
    scene = {"robot": robot, "seed": _whole_number("seed", values["seed"])}
    scene |= {"world": values["world"], **pictures, **clock}
    if values["sim"] != "true":
        scene = {}
    if spec.base and not spec.joints:
        return _describe_base(spec, values, scene, {**common, **pictures, **network, **starts})
    moving = {**common, **starts, "simulated": values["sim"] == "true"}
    processes = [
        Process("executor", True, moving),
        Process("policy", True, {**moving, **pictures, **network}),
    ]
    if values["overlay"] == "true":
        processes.append(Process("overlay", False, {**common, **pictures}))
    if not scene and spec.adapters:
        processes.insert(0, Process("adapter", False, common))
    if scene:
        processes.insert(0, Process("simulator", False, scene))
    return tuple(processes)


def _describe_base(
    spec: RobotSpec, values: Mapping[str, str], scene: Mapping, navigator: Mapping
) -> tuple[Process, ...]:
    """The processes of a robot that is only a base; in simulation the navigator is judged."""
    if not scene:
        return (Process("navigator", True, navigator),)
    house = values["world"] or (spec.simulation.world if spec.simulation else "")
    # Only our own houses are known well enough to judge a drive.
    judged = {} if house.startswith("habitat:") else {"house": house}
    return (
        Process("house_simulator", False, scene),
        Process("navigator", True, {**navigator, **judged}),
    )


def _check(chosen: Mapping[str, str]) -> dict[str, str]:
    known = {argument.name: argument for argument in ARGUMENTS}
    for name, value in chosen.items():
        if name not in known:
            raise Dm0Error(f"there is no argument {name}; there are {', '.join(known)}")
        choices = known[name].choices
        if choices and value not in choices:
            raise Dm0Error(f"{name} is '{value}'; choose one of {', '.join(choices)}")
    return {**defaults(), **chosen}


def _whole_number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise Dm0Error(f"{name} is '{text}'; give a whole number") from error


def ros_arguments(process: Process, **chosen: str) -> list[str]:
    """What follows ``--ros-args`` for a process."""
    values = _check(chosen)
    words = []
    if values["params_file"]:
        words += ["--params-file", values["params_file"]]
    for name, value in process.parameters.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        words += ["-p", f"{name}:={text or EMPTY}"]
    for old, new in process.remaps.items():
        words += ["-r", f"{old}:={new}"]
    if values["namespace"]:
        words += ["-r", f"__ns:=/{values['namespace'].strip('/')}"]
    return [*words, "--log-level", values["log_level"]]


def command(process: Process, **chosen: str) -> list[str]:
    """The command line of a process, with this Python."""
    module = f"dm0_ros.nodes.{process.name}"
    return [sys.executable, "-m", module, "--ros-args", *ros_arguments(process, **chosen)]


def environment() -> dict[str, str]:
    """Variables that every process needs, unless the caller's environment already sets them."""
    wanted = {
        # Raw pictures lose a quarter of their frames with Fast DDS's own settings.
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(find_resource("config", "fastdds.xml")),
        # Waiting threads of the network must not spin: simulator and executor need the cores.
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONUNBUFFERED": "1",
    }
    return {name: value for name, value in wanted.items() if name not in os.environ}
