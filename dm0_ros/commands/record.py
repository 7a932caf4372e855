# SPDX-License-Identifier: Apache-2.0
"""`dm0 record`: the topics of a running graph into a bag, or a bag repaired."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from dm0_ros.errors import Dm0Error


def record(
    robot: Annotated[str, typer.Argument(help="name in config/, or path of a YAML")] = "franka",
    out: Annotated[str, typer.Option(help="folder of the new bag [bags/<robot>_<time>]")] = "",
    split_seconds: Annotated[
        float, typer.Option(min=0.0, help="of one file of the bag; 0: no limit")
    ] = 0.0,
    split_mb: Annotated[int, typer.Option(min=0, help="of one file; 0: no limit")] = 0,
    namespace: Annotated[str, typer.Option(help="record this one alone, and what all share")] = "",
    topics: Annotated[
        list[str] | None, typer.Option(help="record this, and others so named, alone")
    ] = None,
    checkpoint: Annotated[
        str, typer.Option(help="to be named in the bag, where no policy of ours says so")
    ] = "",
    actions: Annotated[
        bool, typer.Option(help="also status and feedback of actions, which mcap-ros2 cannot read")
    ] = True,
    teleoperation: Annotated[
        bool, typer.Option("--teleoperation", help="somebody else commands, and marks episodes")
    ] = False,
    instruction: Annotated[str, typer.Option(help="of teleoperated episodes")] = "",
    keep_free_mb: Annotated[
        int, typer.Option(min=0, help="end rather than leave less of the disk")
    ] = 50,
    repair: Annotated[
        Path | None, typer.Option(help="instead: close this bag, whose recorder died")
    ] = None,
) -> None:
    """Record a robot's graph that runs already, until Ctrl-C.

    Topics that appear later are recorded from then on. Ends with 1 where the disk is full; the bag
    is readable then, and whenever this dies.
    """
    if repair is not None:
        _repair(repair)
        return
    if instruction and not teleoperation:
        raise Dm0Error("instructions come with the goals: --instruction is for --teleoperation")
    from dm0_ros import bringup

    process = bringup.describe_recorder(
        robot,
        out,
        split_seconds=split_seconds,
        split_mb=split_mb,
        topics=",".join(topics or []),
        checkpoint=checkpoint,
        actions=actions,
        teleoperation=teleoperation,
        instruction=instruction,
        keep_free_mb=keep_free_mb,
    )
    os.environ |= bringup.environment()
    from dm0_ros.nodes import recorder

    words = bringup.ros_arguments(process, namespace=namespace)
    sys.exit(recorder.main(["dm0", "--ros-args", *words]))


def _repair(bag: Path) -> None:
    from dm0_ros.replay.salvage import repair

    missing = repair(bag)
    if not missing:
        typer.echo(f"{bag}: nothing to repair")
    for sentence in missing:
        typer.echo(f"{bag}: {sentence}")
