# SPDX-License-Identifier: Apache-2.0
"""`dm0 up`: the graph that the launch files start, where `ros2 launch` is not installed."""

import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

_LOOK_PERIOD = 0.1  # s between looks at the processes


def up(
    robot: Annotated[str, typer.Argument(help="name in config/, or path of a YAML")] = "franka",
    sim: Annotated[bool, typer.Option("--sim", help="simulate robot and cameras")] = False,
    checkpoint: Annotated[
        str, typer.Option(help="checkpoint by name (dm0 checkpoint list), or a folder")
    ] = "dm0-nano",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    compressed: Annotated[bool, typer.Option(help="JPEG pictures instead of raw ones")] = False,
    overlay: Annotated[bool, typer.Option(help="draw the plan on the pictures")] = True,
    autostart: Annotated[bool, typer.Option(help="configure and activate at once")] = True,
    namespace: Annotated[str, typer.Option(help="put before every relative name")] = "",
    params_file: Annotated[str, typer.Option(help="YAML of ROS parameters")] = "",
    use_sim_time: Annotated[bool, typer.Option(help="take the time from /clock")] = False,
    seed: Annotated[int, typer.Option(help="of the simulated scenes")] = 0,
    world: Annotated[str, typer.Option(help="to simulate, in config/worlds/")] = "",
    record: Annotated[bool, typer.Option("--record", help="every topic into a bag")] = False,
    bag: Annotated[str, typer.Option(help="folder of the new bag [bags/<robot>_<time>]")] = "",
    log_level: Annotated[str, typer.Option(help="debug, info, warn, error or fatal")] = "info",
) -> None:
    """Start policy, executor and overlay, with --sim the simulator too; Ctrl-C ends them.

    For a robot that is only a base it is the navigator.

    When one process ends by itself, the others are ended and its name is said.
    """
    from dm0_ros import bringup

    chosen = {name: as_text(value) for name, value in locals().items() if name in _names()}
    commands = {
        process.name: bringup.command(process, **chosen)
        for process in bringup.describe(robot, **chosen)
    }
    environment = {**os.environ, **bringup.environment()}
    supervise(commands, environment, Path(tempfile.mkdtemp(prefix="dm0_up_")))


def _names() -> set[str]:
    from dm0_ros import bringup

    return set(bringup.defaults())


def as_text(value: object) -> str:
    """A value as launch arguments have it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def supervise(
    commands: dict[str, list[str]], environment: dict[str, str], logs: Path, until: str = ""
) -> None:
    """Run the processes until a signal, or until one of them ends, which raises `Dm0Error`.

    Unless it is the one named ``until``, and it has done its work.
    """
    from dm0_ros.commands.processes import Processes

    followers = [Follower(name, logs / f"{name}.log") for name in commands]
    stopping: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        # Only noted: a second signal must not keep the processes from being ended.
        signal.signal(number, lambda number, _frame: stopping.append(number))
    try:
        with Processes(logs, environment) as processes:
            for name, command in commands.items():
                processes.start(name, command)
            while not stopping:
                for follower in followers:
                    follower.show()
                if until and processes.status(until) == 0:
                    break
                processes.check()
                time.sleep(_LOOK_PERIOD)
    finally:
        for follower in followers:
            follower.show()


class Follower:
    """Shows what a process writes to its log, each line after the process's name."""

    def __init__(self, name: str, path: Path) -> None:
        self._prefix, self._path = f"{name:>9} | ", path
        self._read = 0
        self._rest = ""

    def show(self) -> None:
        """Write the lines that are new and complete to stdout."""
        if not self._path.exists():
            return
        with self._path.open(errors="replace", newline="") as log:
            log.seek(self._read)
            text = self._rest + log.read()
            self._read = log.tell()
        *lines, self._rest = text.split("\n")
        for line in lines:
            sys.stdout.write(f"{self._prefix}{line}\n")
        sys.stdout.flush()
