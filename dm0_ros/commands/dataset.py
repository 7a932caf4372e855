# SPDX-License-Identifier: Apache-2.0
"""`dm0 dataset`: bags to training data, and back."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from dm0_ros.datasets.settings import Format
from dm0_ros.errors import Dm0Error

dataset = typer.Typer(
    help="Bags to training data, and back.", no_args_is_help=True, rich_markup_mode="markdown"
)


@dataset.command("from-bags")
def from_bags(
    bags: Annotated[list[Path], typer.Argument(help="folders, or .mcap files")],
    out: Annotated[Path, typer.Option(help="folder of the new dataset")],
    robot: Annotated[str, typer.Option(help="name in config/, or a YAML file")],
    layout: Annotated[str, typer.Option(help="of states and actions, in the robot's YAML")] = (
        "joint"
    ),
    rate: Annotated[
        float | None, typer.Option(min=0.1, max=1000.0, help="rows a second [the plans' own]")
    ] = None,
    step: Annotated[
        float | None, typer.Option(min=0.001, max=10.0, help="s between rows, instead of --rate")
    ] = None,
    format: Annotated[Format, typer.Option(help="of the dataset")] = Format.LEROBOT,
    cameras: Annotated[str, typer.Option(help="slots to keep, with commas between [all]")] = "",
    instruction: Annotated[
        str, typer.Option(help="of episodes that say none; of a whole bag without marks")
    ] = "",
    only_successful: Annotated[
        bool, typer.Option("--only-successful", help="leave out what was not judged a success")
    ] = False,
    shortest: Annotated[
        float, typer.Option(min=0.0, help="s that an episode must last from its first command on")
    ] = 0.5,
    measured: Annotated[
        list[str] | None,
        typer.Option(help="joint whose action is what was measured, and others so named; or all"),
    ] = None,
    namespace: Annotated[str, typer.Option(help="of the recorded graph")] = "",
    jobs: Annotated[int, typer.Option(min=1, help="bags that are read at once")] = 1,
) -> None:
    """Cut bags into episodes at one rate, and write a dataset to train on.

    Episodes are those that were marked; what cannot be used is named and left out. Ends with 1
    where nothing can be used.
    """
    from dm0_ros.datasets.from_bags import convert, find_step
    from dm0_ros.datasets.settings import Cut
    from dm0_ros.robots.loading import load_robot

    if rate is not None and step is not None:
        raise Dm0Error("--rate and --step say the same; give one of them")
    spec = load_robot(robot)
    given = step if rate is None else 1 / rate
    cut = Cut(
        robot=spec,
        layout=layout,
        step=find_step(bags, namespace) if given is None else given,
        slots=tuple(s.strip() for s in cameras.split(",") if s.strip()) or spec.camera_slots,
        measured=tuple(measured or ()),
        instruction=instruction.strip(),
        only_successful=only_successful,
        shortest=shortest,
        namespace=namespace,
    )
    command = " ".join(["dm0", *sys.argv[1:]])
    outcome = convert(bags, out, cut, format, jobs, _tell_bag, command)
    _tell(outcome, cut)


def _tell_bag(report) -> None:
    typer.echo(f"{report.bag}: {len(report.staged)} episodes, {len(report.left_out)} left out")


def _tell(outcome, cut) -> None:
    for note in outcome.notes:
        typer.echo(f"note: {note}")
    for bag, title, why in outcome.left_out:
        typer.echo(f"left out: {bag}: {title}: {why}")
    typer.echo(
        f"{outcome.folder}: {outcome.episodes} episodes, {outcome.frames} rows of {cut.step:g} s; "
        f"{len(outcome.left_out)} episodes left out"
    )


@dataset.command("to-bag")
def to_bag(
    folder: Annotated[Path, typer.Argument(metavar="DATASET", help="of either format")],
    episode: Annotated[int, typer.Option(min=0, help="which, counted from 0")],
    out: Annotated[Path, typer.Option(help="folder of the new bag")],
    robot: Annotated[str, typer.Option(help="of data from elsewhere")] = "",
    layout: Annotated[str, typer.Option(help="of data from elsewhere")] = "",
) -> None:
    """Write an episode as a bag: joints, commands, pictures, instruction, marks.

    Look at it with: dm0 view ROBOT --bag BAG
    """
    from dm0_ros.datasets.to_bag import write_bag

    written = write_bag(folder, episode, out, robot, layout)
    for camera in written.strange:
        typer.echo(f"left out: {camera}: no camera slot of the robot is called so")
    typer.echo(
        f"{out}: {written.messages} messages, {written.seconds:.1f} s: {written.instruction}"
    )
