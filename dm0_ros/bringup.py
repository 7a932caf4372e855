# SPDX-License-Identifier: Apache-2.0
"""The graph, described once: which processes, with which parameters, in which environment.

`launch/*.launch.py`, `dm0 up` and the demo read it. Plain data: needs no ROS to import.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dm0_ros.errors import Dm0Error
from dm0_ros.resources import find_resource

if TYPE_CHECKING:
    from dm0_ros.robots.spec import RobotSpec


class Recorded(Protocol):
    """By what a bag was recorded: `dm0_ros.replay.staging.Staging`."""

    robot: str
    simulated: bool
    compressed: bool
    policy: Mapping[str, Any]


# Names that a graph shares with others unless it is told not to.
_ALL_OWN = {f"/{name}": name for name in ("tf", "tf_static", "diagnostics")}
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

_SHARED = {argument.name: argument for argument in ARGUMENTS}

# Of a graph that a bag is played into; `bag` comes first on every way to start.
REPLAY_ARGUMENTS = (
    Argument("robot", "", "Name in config/, or a YAML's path; empty: the recorded one."),
    Argument("checkpoint", "", "By name, or a folder's path; empty: the recorded one."),
    _SHARED["device"],
    Argument("seed", "", "Of the policy's noise; empty: the recorded one."),
    Argument("rate", "1.0", "Seconds of the bag in a second, 0.05 to 4."),
    Argument("from", "0", "Begin so many seconds after the bag's beginning."),
    Argument("to", "0", "End so many seconds after the bag's beginning; 0: its end."),
    Argument("instruction", "", "One task of all the time, instead of the recorded ones."),
    Argument("recorded", "false", "Also the recorded outputs, below recorded/.", _FLAG),
    Argument("namespace", "", "Of the recorded graph, where a bag has several."),
    Argument("into", "replay", "Namespace of the live graph, away from any robot."),
    Argument("figures", "", "JSON file for what came of it."),
    _SHARED["overlay"],
    _SHARED["params_file"],
    _SHARED["log_level"],
)


@dataclass(frozen=True)
class Process:
    """One node in a process of its own: ``python -m dm0_ros.nodes.<name>``."""

    name: str  # of the node and of the package's executable
    lifecycle: bool
    parameters: Mapping[str, Any]
    remaps: Mapping[str, str] = field(default_factory=dict)


def defaults(arguments: Sequence[Argument] = ARGUMENTS) -> dict[str, str]:
    """Every argument's default by name."""
    return {argument.name: argument.default for argument in arguments}


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


def describe_replay(bag: str, like: Recorded, /, **chosen: str) -> tuple[Process, ...]:
    """The graph that a bag is played into, in simulated time; the player's end is its end.

    ``like`` is what it was recorded by, ``chosen`` overrides the `defaults` of
    `REPLAY_ARGUMENTS`. Raises `Dm0Error` where commands could reach a robot.
    """
    from dm0_ros.robots.loading import load_robot

    values = _check(chosen, REPLAY_ARGUMENTS)
    _keep_away(values["into"], load_robot(like.robot))
    common = {"robot": like.robot, "use_sim_time": True}
    moving = {**common, "autostart": True, "simulated": like.simulated}
    pictures = {"compressed": like.compressed}
    network = {**like.policy, "device": values["device"]}
    player = {
        "bag": bag,
        "robot": like.robot,
        "recorded": values["recorded"] == "true",
        "instruction": values["instruction"],
        "recorded_namespace": values["namespace"],
        "figures": values["figures"],
        "begin": _number("from", values["from"]),
        "end": _number("to", values["to"]),
        "rate": _number("rate", values["rate"]),
    }
    processes = [
        Process("player", False, player),  # it tells the time
        Process("executor", True, moving),
        Process("policy", True, {**moving, **pictures, **network}),
    ]
    if values["overlay"] == "true":
        processes.append(Process("overlay", False, {**common, **pictures}))
    return tuple(replace(process, remaps=_ALL_OWN) for process in processes)


def _keep_away(namespace: str, spec: RobotSpec) -> None:
    """Raise `Dm0Error` where commands of a replay could reach a robot."""
    if not namespace.strip("/"):
        raise Dm0Error(
            "into: a replay has a namespace of its own, or its commands would reach a robot that "
            "listens; leave it as it is, or choose another"
        )
    if wide := [sink.topic for sink in spec.sinks if sink.topic.startswith("/")]:
        raise Dm0Error(
            f"{spec.name}: {', '.join(wide)} begins with a slash, so that no namespace keeps it "
            "from a robot; choose a robot YAML without it"
        )


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


def _check(chosen: Mapping[str, str], arguments: Sequence[Argument] = ARGUMENTS) -> dict[str, str]:
    known = {argument.name: argument for argument in arguments}
    for name, value in chosen.items():
        if name not in known:
            raise Dm0Error(f"there is no argument {name}; there are {', '.join(known)}")
        choices = known[name].choices
        if choices and value not in choices:
            raise Dm0Error(f"{name} is '{value}'; choose one of {', '.join(choices)}")
    return {**defaults(arguments), **chosen}


def _whole_number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise Dm0Error(f"{name} is '{text}'; give a whole number") from error


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise Dm0Error(f"{name} is '{text}'; give a number") from error


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
