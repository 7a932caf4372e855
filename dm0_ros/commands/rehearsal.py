# SPDX-License-Identifier: Apache-2.0
"""A session at RoboChallenge without RoboChallenge: the mock of its platform, and a policy."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import typer

_PICTURE = (224, 224)  # made-up views have nothing to see in more pixels
_AHEAD = 1000.0  # s that the mock's clock is ahead of ours


def rehearse_tasks(
    tasks: list | None, checkpoint: str, faults: list[str], chunks: int, device: str, seed: int
) -> dict[str, list]:
    """Records by task, of one job each. ``tasks`` None: the first one of each robot.

    Without a ``checkpoint``, the one that ships for the robot plans; it knows nothing of the
    tasks, so what is rehearsed is the session, not the policy.
    """
    from dm0_ros.challenge.faults import parse_fault
    from dm0_ros.challenge.mock_platform import MockPlatform
    from dm0_ros.challenge.mock_server import MockServer
    from dm0_ros.challenge.table import load_table30, load_tasks

    planned = tuple(map(parse_fault, faults))
    chosen = tasks or list({item.robot: item for item in load_tasks().values()}.values())
    platform = MockPlatform(lambda: time.monotonic() + _AHEAD)
    for task in chosen:
        platform.add(task.name, task, chunks=chunks)
    records = {}
    with MockServer(platform, planned) as server:
        table = load_table30()
        data = replace(table.platform, address=server.address, picture=_PICTURE, finished_polls=2)
        table = replace(table, platform=data)
        typer.echo(f"mock platform at {server.address}")
        for task in chosen:
            records[task.name] = _rehearse(task, checkpoint, table, device, seed)
    return records


def _rehearse(task, checkpoint: str, table, device: str, seed: int) -> list:
    from dm0_ros.challenge.collection import run_collection
    from dm0_ros.policy.registry import FAMILY, load_policy
    from dm0_ros.robots import load_robot

    policy = load_policy(checkpoint or FAMILY, load_robot(task.robot), device=device, seed=seed)
    try:
        policy.warm_up()
        with tempfile.TemporaryDirectory(prefix="dm0_rehearsal_") as folder:
            return run_collection(
                task.name, task, policy, table, "rehearsal", Path(folder), typer.echo
            )
    finally:
        policy.close()
