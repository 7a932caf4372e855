# SPDX-License-Identifier: Apache-2.0
"""`dm0 replay BAG --live`: the graph of launch/replay.launch.py without `ros2 launch`."""

import os
import tempfile
from pathlib import Path

from dm0_ros import bringup


def play(bag: Path, **chosen: str) -> None:
    """Play a bag into a live graph, to its end or until Ctrl-C.

    ``chosen`` are values of `bringup.REPLAY_ARGUMENTS`. Raises `Dm0Error` where a process fails.
    """
    from dm0_ros.commands.up import supervise
    from dm0_ros.replay.staging import stage

    processes = bringup.describe_replay(str(bag), stage(bag, **chosen), **chosen)
    shared = {"namespace": chosen["into"], "params_file": chosen["params_file"]}
    commands = {process.name: bringup.command(process, **shared) for process in processes}
    environment = {**os.environ, **bringup.environment()}
    logs = Path(tempfile.mkdtemp(prefix="dm0_replay_"))
    supervise(commands, environment, logs, until="player")
