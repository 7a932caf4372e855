# SPDX-License-Identifier: Apache-2.0
"""`dm0 eval bags`: recorded bags through a policy, and figures of how near it comes to them."""

import os
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated

import typer

from dm0_ros.commands import bag_options as options
from dm0_ros.commands.figures import write_figures
from dm0_ros.errors import Dm0Error
from dm0_ros.evaluation.engines import EngineKind


def bags(
    bag: Annotated[list[Path], typer.Argument(help="folders, or .mcap files, that were recorded")],
    out: Annotated[Path, typer.Option(help="folder for results")],
    checkpoint: options.Checkpoint = "",
    against: Annotated[str, typer.Option(help="another, to be compared with it")] = "",
    robot: options.Robot = "",
    latency: options.Latency = "measured",
    every: options.Every = None,
    instruction: Annotated[
        str, typer.Option(help="with --every, for the whole bag [the recorded ones]")
    ] = "",
    seed: options.Seed = None,
    device: Annotated[
        str, typer.Option(help="of the network: cpu; cuda: one GPU for each worker; cuda:1 ...")
    ] = "cpu",
    engine: Annotated[
        EngineKind, typer.Option(help="workers: processes of this machine, or Ray")
    ] = EngineKind.PROCESSES,
    jobs: Annotated[
        int, typer.Option(min=0, help="workers; 0: one for each core, or each GPU")
    ] = 0,
    threads: Annotated[int, typer.Option(min=1, help="of each worker")] = 1,
    address: Annotated[
        str, typer.Option(help="of a running Ray cluster [a Ray of this machine alone]")
    ] = "",
    resume: Annotated[
        bool, typer.Option(help="keep what an earlier run into the same folder has done")
    ] = True,
    json_path: options.Figures = None,
) -> None:
    """Replay bags and say how far plans are from what the robot did, per joint and per row.

    The same bags, seed and machine give the same numbers, whoever computes them. A bag that cannot
    be evaluated is named, the others go on, and the exit status is 1.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from dm0_ros.evaluation.engines import make_engine
    from dm0_ros.evaluation.evaluate import AGAINST, CHECKPOINT, Setting
    from dm0_ros.evaluation.folder import Folder
    from dm0_ros.replay.lateness import Lateness
    from dm0_ros.replay.run import Wishes

    options.check_schedule(instruction, every)
    settings = {}
    for key, name in ((CHECKPOINT, checkpoint), (AGAINST, against)):
        if key == CHECKPOINT or name:
            wishes = Wishes(
                robot=_make_absolute(robot),
                checkpoint=_make_absolute(name),
                device=device,
                seed=seed,
                lateness=None if latency == "off" else Lateness.parse(latency),
                period=every,
                instruction=instruction,
            )
            settings[key] = Setting(key, wishes)
    with Folder(out) as folder:
        if not resume:
            folder.forget()
        with closing(make_engine(engine, jobs, threads, device, address)) as workers:
            facts = {
                key: _find_facts(setting.wishes, threads) for key, setting in settings.items()
            }
            course = _evaluate(bag, settings, folder, workers, facts)
        _tell(course)
        figures = _merge(folder.path, course, len(settings))
    write_figures(json_path, figures)
    if course.failed:
        raise Dm0Error(f"{len(course.failed)} of {course.total} replays failed, see above")


def _make_absolute(name: str) -> str:
    """A path for workers in other folders; a name as it is."""
    return os.path.abspath(name) if name and Path(name).exists() else name


def _find_facts(wishes, threads: int) -> dict:
    """What results depend on beside the wishes. A folder may have another checkpoint by now."""
    from dm0_ros.errors import CheckpointError
    from dm0_ros.policy.registry import find_checkpoint
    from dm0_ros.policy.trace import digest_checkpoint
    from dm0_ros.robots.loading import load_robot

    facts = {"threads": threads, "digest": ""}
    if wishes.checkpoint:
        known = (load_robot(wishes.robot).name,) if wishes.robot else ()
        # Where it is not to be found, every bag will say so.
        with suppress(CheckpointError):
            found = find_checkpoint(wishes.checkpoint, *known)
            facts["digest"] = digest_checkpoint(found.folder)
    return facts


def _evaluate(bags: list[Path], settings: dict, folder, workers, facts: dict):
    from dm0_ros.commands.evaluation_display import Display
    from dm0_ros.evaluation.keeping import evaluate_next
    from dm0_ros.evaluation.scale import evaluate_bags

    with Display() as display:
        show = display.show
        return evaluate_bags(bags, settings, folder, workers, evaluate_next, show, facts)


def _tell(course) -> None:
    from dm0_ros.evaluation.words import say_count

    if course.resumed:
        typer.echo(f"{course.resumed} of {course.total} replays were done by an earlier run")
    if course.lost:
        typer.echo(f"{say_count(course.lost, 'worker')} lost; what they had was done again")
    for name, why in course.failed.items():
        typer.echo(f"failed: {name}: {why}", err=True)


def _merge(folder: Path, course, settings: int) -> dict:
    """The table and the page of what is done."""
    from dm0_ros.evaluation.evaluate import CHECKPOINT
    from dm0_ros.evaluation.merging import FIGURES, merge
    from dm0_ros.evaluation.report import REPORT
    from dm0_ros.evaluation.words import say_count

    if len(course.places) < settings:
        raise Dm0Error("no bag could be evaluated under every setting, see above")
    figures = merge(folder, course.places)
    overall = figures[CHECKPOINT]["overall"]
    plans, episodes = (say_count(overall[f"{noun}s"], noun) for noun in ("plan", "episode"))
    typer.echo(f"{plans} in {episodes}")
    typer.echo(f"{folder / REPORT}, {folder / FIGURES}")
    return figures
