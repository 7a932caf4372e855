# SPDX-License-Identifier: Apache-2.0
"""`dm0 train`: reproduce a checkpoint from its recipe."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[str, typer.Argument(help="name in config/training/, or a YAML file")],
    seed: Annotated[int, typer.Option(help="of data, weights and order")] = 0,
    steps: Annotated[int | None, typer.Option(help="instead of the recipe's")] = None,
    episodes: Annotated[
        int | None, typer.Option(help="instead of the recipe's; of a base: frames")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="folder of the run [out/training/<recipe>-seed<seed>]")
    ] = None,
    initial: Annotated[
        str | None,
        typer.Option("--from", help="checkpoint to go on from, instead of the recipe's"),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    workers: Annotated[int, typer.Option(help="processes that record")] = 0,
) -> None:
    """Record episodes of the scripted expert, train a DM0 on them, write a checkpoint.

    Interrupted, the same command goes on where it stopped. torchrun starts it on several GPUs.
    """
    # Threads that wait must not spin: recording and training share few cores with other work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from dm0_ros.training.recipe import load_recipe
    from dm0_ros.training.run import scale
    from dm0_ros.training.run import train as run

    chosen = scale(load_recipe(recipe), steps, episodes)
    chosen = replace(chosen, initial=initial or chosen.initial)
    folder = out or Path("out/training") / f"{chosen.name}-seed{seed}"
    columns = (
        TextColumn("{task.description:>7}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
    )
    speaks = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts
    with Progress(*columns, disable=not speaks) as display:
        stages = {}

        def report(progress) -> None:
            if progress.stage not in stages:
                stages[progress.stage] = display.add_task(progress.stage, loss="")
            loss = "  ".join(f"{name} {loss:.4f}" for name, loss in progress.losses.items())
            display.update(
                stages[progress.stage],
                completed=progress.done,
                total=progress.total,
                loss=loss,
            )

        checkpoint = run(chosen, seed, folder, workers or os.cpu_count() or 1, device, report)
    if speaks:
        typer.echo(f"checkpoint: {checkpoint}\nloss curve: {folder / 'loss.png'}")
