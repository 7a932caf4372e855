# SPDX-License-Identifier: Apache-2.0
"""`dm0 doctor`: what is here, what is missing, and what to type."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

_SET_UP = "make env && source .venv/bin/activate"
_PYTHONS = ((3, 10), (3, 13))
# MB: six processes of the graph, the demo's recorder and judge, 35 each by config/fastdds.xml
_SHARED_MEMORY = 256
_SPACE = 2.0  # GB that a demo may leave behind
_SMALL = 500e6  # bytes: smaller checkpoints are loaded to see whether they work
_PROBE_GL = (
    "import os; os.environ.setdefault('MUJOCO_GL', 'egl'); import mujoco; "
    "mujoco.GLContext(64, 64).make_current()"
)


class State(str, Enum):
    """How a finding matters."""

    GOOD = "good"
    OPTIONAL = "optional"  # missing, and most things work without
    MISSING = "missing"


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    what: str
    state: State
    found: str
    remedy: str = ""


def doctor(
    robot: Annotated[str, typer.Option(help="name in config/, or a YAML file")] = "franka",
    checkpoint: Annotated[str, typer.Option(help="name, or a checkpoint folder")] = "dm0-nano",
) -> None:
    """Say what is here, what is missing on this machine, and what to type.

    Ends with 1 where something is missing that the nodes cannot do without.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    findings = examine(robot, checkpoint)
    table = Table(show_edge=False, pad_edge=False)
    for heading in ("", "state", "found", "what to type"):
        table.add_column(heading, overflow="fold")
    colours = {State.GOOD: "green", State.OPTIONAL: "yellow", State.MISSING: "red"}
    for finding in findings:
        state = f"[{colours[finding.state]}]{finding.state.value}[/]"
        table.add_row(finding.what, state, escape(finding.found), escape(finding.remedy))
    # where output goes to a file there is no width to keep to
    console = Console(markup=True, highlight=False)
    if not console.is_terminal:
        console.width = 200
    console.print(table)
    if any(finding.state is State.MISSING for finding in findings):
        raise typer.Exit(1)


def examine(robot: str, checkpoint: str) -> list[Finding]:
    """Everything worth knowing, in the order in which things depend on each other."""
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("Python", _check_python),
        ("ROS 2", _check_ros),
        ("our interfaces", _check_interfaces),
        ("Fast DDS profile", _check_profile),
        ("shared memory", _check_shared_memory),
        ("ros2 launch", _check_launch),
        ("drawing without a display", _check_gl),
        ("torch", _check_torch),
        ("robot", lambda: _check_robot(robot)),
        ("checkpoint", lambda: _check_checkpoint(checkpoint, robot)),
        ("cameras", lambda: _check_cameras(robot)),
        ("disk", _check_disk),
    ]
    return [_guard(what, check) for what, check in checks]


def _guard(what: str, check: Callable[[], Finding]) -> Finding:
    """A check that itself fails is a finding too."""
    from dm0_ros.errors import Dm0Error

    try:
        return check()
    except Dm0Error as error:
        return Finding(what, State.MISSING, str(error))
    except ImportError as error:
        return Finding(what, State.MISSING, str(error).splitlines()[0], _SET_UP)


def _check_python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    fits = _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1]
    state = State.GOOD if fits else State.MISSING
    remedy = "" if fits else "make clean && make env PYTHON=python3.11"
    return Finding("Python", state, f"{version}, {sys.executable}", remedy)


def _check_ros() -> Finding:
    from dm0_ros.nodes.probe import describe_middleware

    ros = describe_middleware()
    distribution = os.environ.get("ROS_DISTRO", "unknown distribution")
    found = f"{distribution}, rclpy {ros.version} from {ros.location}, {ros.rmw}"
    return Finding("ROS 2", State.GOOD, found)


def _check_interfaces() -> Finding:
    from dm0_ros.nodes.probe import describe_interfaces

    return Finding("our interfaces", State.GOOD, str(describe_interfaces()))


def _check_profile() -> Finding:
    from dm0_ros.resources import find_resource

    name = "Fast DDS profile"
    remedy = f"export FASTRTPS_DEFAULT_PROFILES_FILE={find_resource('config', 'fastdds.xml')}"
    value = os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE", "")
    if not value:
        lost = "not set: raw pictures between processes get lost"
        return Finding(name, State.OPTIONAL, lost, remedy)
    if not Path(value).is_file():
        return Finding(name, State.MISSING, f"{value} does not exist", remedy)
    return Finding(name, State.GOOD, value)


def _check_shared_memory() -> Finding:
    name, folder = "shared memory", Path("/dev/shm")
    if not folder.is_dir():
        return Finding(name, State.OPTIONAL, f"no {folder}: pictures go through UDP and get lost")
    megabytes = shutil.disk_usage(folder).total / 1e6
    found = f"{megabytes:.0f} MB in {folder}"
    if megabytes < _SHARED_MEMORY:
        lost = f"{found}; each process takes 35 MB, and those that get none send through UDP"
        return Finding(name, State.OPTIONAL, lost, "docker run --shm-size=512m")
    return Finding(name, State.GOOD, found)


def _check_launch() -> Finding:
    spec = find_spec("launch_ros")
    if spec is None:
        remedy = "dm0 up <robot>, which starts the same nodes"
        return Finding("ros2 launch", State.OPTIONAL, "not installed", remedy)
    return Finding("ros2 launch", State.GOOD, str(spec.origin))


def _check_gl() -> Finding:
    # in a process of its own: a broken driver ends the process
    probe = subprocess.run(
        [sys.executable, "-c", _PROBE_GL], capture_output=True, text=True, timeout=60, check=False
    )
    name, library = "drawing without a display", os.environ.get("MUJOCO_GL", "egl")
    if probe.returncode == 0:
        return Finding(name, State.GOOD, f"MuJoCo through {library}")
    reason = (probe.stderr.strip().splitlines() or [f"exit status {probe.returncode}"])[-1]
    remedy = "apt install libegl1 libgl1-mesa-dri, or export MUJOCO_GL=osmesa"
    return Finding(name, State.OPTIONAL, f"no simulator: {reason}", remedy)


def _check_torch() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("torch", State.GOOD, f"{torch.__version__}, {torch.cuda.get_device_name()}")
    found = f"{torch.__version__}, no GPU: enough for dm0-nano, not for the public checkpoints"
    return Finding("torch", State.OPTIONAL, found, "pip install torch, on a machine with a GPU")


def _check_robot(name: str) -> Finding:
    from dm0_ros.robots.loading import load_robot

    return Finding("robot", State.GOOD, load_robot(name).title)


def _check_checkpoint(name: str, robot: str) -> Finding:
    from dm0_ros.policy.registry import find_checkpoint, load_policy
    from dm0_ros.robots.loading import load_robot

    spec = load_robot(robot)
    checkpoint = find_checkpoint(name, spec.name)
    folder = checkpoint.folder
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    found = f"{folder}, {size / 1e6:.0f} MB"
    if size > _SMALL:
        checkpoint.load_settings().layout_of(spec)
        return Finding("checkpoint", State.GOOD, f"{found}, weights not read")
    load_policy(name, spec)
    return Finding("checkpoint", State.GOOD, f"{found}, loads")


def _check_cameras(robot: str) -> Finding:
    from dm0_ros.nodes.probe import list_published
    from dm0_ros.robots.loading import load_robot

    published = list_published(seconds=1.5)
    slots = load_robot(robot).camera_slots
    absent = [slot for slot in slots if not any(f"camera/{slot}/" in t for t in published)]
    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    if not absent:
        return Finding("cameras", State.GOOD, f"{', '.join(slots)} in domain {domain}")
    found = f"nobody publishes {', '.join(absent)} in domain {domain}"
    remedy = (
        f"start the camera drivers, remapped to camera/<slot>/image_raw, or dm0 up {robot} --sim"
    )
    return Finding("cameras", State.OPTIONAL, found, remedy)


def _check_disk() -> Finding:
    free = shutil.disk_usage(".").free / 1e9
    if free < _SPACE:
        return Finding("disk", State.OPTIONAL, f"{free:.1f} GB free", "rm -r out")
    return Finding("disk", State.GOOD, f"{free:.0f} GB free in {Path.cwd()}")
