# SPDX-License-Identifier: Apache-2.0
"""`dm0 eval bags`: recorded bags through a policy, and figures of how near it comes to them."""

import os
from pathlib import Path
from typing import Annotated

import typer


def bags(
    bag: Annotated[list[Path], typer.Argument(help="folders, or .mcap files, that were recorded")],
    out: Annotated[Path, typer.Option(help="folder for results")],
    checkpoint: Annotated[str, typer.Option(help="name, or a folder [the recorded one]")] = "",
    against: Annotated[str, typer.Option(help="another, to be compared with it")] = "",
    robot: Annotated[str, typer.Option(help="name, or a YAML file [the recorded one]")] = "",
    latency: Annotated[
        str, typer.Option(help="of plans, to rehearse the executor: measured, 0, 300ms ... or off")
    ] = "measured",
    every: Annotated[
        float | None, typer.Option(min=0.001, help="plan so often (s) [when plans were recorded]")
    ] = None,
    instruction: Annotated[
        str, typer.Option(help="with --every, for the whole bag [the recorded ones]")
    ] = "",
    seed: Annotated[int | None, typer.Option(min=0, help="of the noise [the recorded]")] = None,
    device: Annotated[str, typer.Option(help="of the network: cpu, cuda, ...")] = "cpu",
    json_path: Annotated[Path | None, typer.Option("--json", help="file for the figures")] = None,
) -> None:
    """Replay bags and say how far plans are from what the robot did, per joint and per row.

    The same bags, seed and machine give the same numbers.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from dm0_ros.evaluation.evaluate import AGAINST, CHECKPOINT, Setting, evaluate_bag
    from dm0_ros.evaluation.result import bag_key
    from dm0_ros.replay.lateness import Lateness
    from dm0_ros.replay.run import Wishes

    lateness = None if latency == "off" else Lateness.parse(latency)
    for key, name in ((CHECKPOINT, checkpoint), (AGAINST, against)):
        if key == AGAINST and not against:
            continue
        wishes = Wishes(
            robot=robot,
            checkpoint=name,
            device=device,
            seed=seed,
            lateness=lateness,
            period=every,
            instruction=instruction,
        )
        for path in bag:
            folder = out / "evaluation" / key / bag_key(path)
            evaluate_bag(path, Setting(key, wishes), folder)
            typer.echo(f"{path}: {folder}")
