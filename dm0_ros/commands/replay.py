# SPDX-License-Identifier: Apache-2.0
"""`dm0 replay`: a recorded bag through a policy, without a graph, or into a live one."""

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from dm0_ros.commands import bag_options as options
from dm0_ros.commands.figures import write_figures


def replay(
    bag: Annotated[Path, typer.Argument(help="folder, or .mcap file, that was recorded")],
    checkpoint: options.Checkpoint = "",
    robot: options.Robot = "",
    latency: options.Latency = "measured",
    every: options.Every = None,
    instruction: Annotated[
        str, typer.Option(help="with --every or --live, for the whole bag [the recorded ones]")
    ] = "",
    begin: Annotated[
        float | None, typer.Option("--from", min=0.0, help="s after the bag's beginning")
    ] = None,
    end: Annotated[
        float | None, typer.Option("--to", min=0.0, help="s after the bag's beginning")
    ] = None,
    seed: options.Seed = None,
    device: Annotated[str, typer.Option(help="of the network: cpu, cuda, ...")] = "cpu",
    threads: Annotated[int, typer.Option(min=0, help="of the network; 0: as recorded")] = 0,
    namespace: Annotated[str, typer.Option(help="of the recorded graph")] = "",
    json_path: options.Figures = None,
    report: Annotated[
        Path | None,
        typer.Option(help="folder for report.html and its figures, see dm0 eval bags"),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="play it into a live graph that reaches no robot")
    ] = False,
    rate: Annotated[
        float, typer.Option(min=0.05, max=4.0, help="with --live: s of the bag in a second")
    ] = 1.0,
    recorded: Annotated[
        bool, typer.Option("--recorded", help="with --live: recorded outputs too, on recorded/...")
    ] = False,
    overlay: Annotated[bool, typer.Option(help="with --live: draw the plans")] = True,
    into: Annotated[str, typer.Option(help="with --live: namespace of the live graph")] = "replay",
    params_file: Annotated[
        str, typer.Option(help="with --live: YAML of ROS parameters of its nodes")
    ] = "",
) -> None:
    """Show a policy what it saw, see what it plans, and what the executor would have commanded.

    Compares plans and commands with the recorded ones. The same bag, seed and machine give the
    same numbers. Ends with 0 however far plans are apart, and with 1 where none could be made.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from dm0_ros.commands.live_replay import play
    from dm0_ros.commands.up import as_text
    from dm0_ros.errors import Dm0Error
    from dm0_ros.replay.lateness import Lateness
    from dm0_ros.replay.run import Wishes, prepare
    from dm0_ros.replay.run import replay as run

    if live:
        if every is not None or latency != "measured" or threads or report:
            raise Dm0Error(
                "--every, --latency, --threads and --report are for a replay without --live"
            )
        texts = {
            **{"robot": robot, "checkpoint": checkpoint, "device": device, "rate": rate},
            **{"seed": "" if seed is None else seed, "from": begin or 0, "to": end or 0},
            **{"instruction": instruction, "recorded": recorded, "namespace": namespace},
            **{"into": into, "figures": json_path or "", "overlay": overlay},
            **{"params_file": params_file},
        }
        play(bag, **{name: as_text(value) for name, value in texts.items()})
        return
    options.check_schedule(instruction, every)
    wishes = Wishes(
        robot=robot,
        checkpoint=checkpoint,
        namespace=namespace,
        device=device,
        seed=seed,
        lateness=None if latency == "off" else Lateness.parse(latency),
        begin=begin,
        end=end,
        period=every,
        instruction=instruction,
    )
    subject = prepare(bag, wishes)
    _limit_threads(threads or (subject.facts.threads if subject.facts else 1))
    with _Display("replaying", "{task.fields[reached]:.0f} s") as display:
        figures = run(subject, wishes, display.show)
    subject.policy.close()
    _tell(figures)
    write_figures(json_path, figures)
    if not figures["plans"]:
        raise Dm0Error(f"{bag}: no plan could be made; see above for why")
    if report:
        _write_report(bag, wishes, report)


def _write_report(bag: Path, wishes, folder: Path) -> None:
    """Replay once more, now against what the robot did."""
    from dm0_ros.evaluation.evaluate import CHECKPOINT, Setting, evaluate_bag
    from dm0_ros.evaluation.merging import merge
    from dm0_ros.evaluation.report import REPORT
    from dm0_ros.evaluation.result import bag_key

    place = folder / CHECKPOINT / bag_key(bag)
    shutil.rmtree(place, ignore_errors=True)
    with _Display("evaluating", "{task.fields[reached]:.0%}") as display:
        evaluate_bag(bag, Setting(CHECKPOINT, wishes), place, display.tell)
    merge(folder, {CHECKPOINT: [place]})
    typer.echo(str(folder / REPORT))


def _limit_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


class _Display:
    """How far the replay is."""

    def __init__(self, what: str, reached: str) -> None:
        from rich.progress import Progress, TextColumn

        columns = TextColumn("{task.description}"), TextColumn(reached)
        self._progress = Progress(*columns, transient=True)
        self._task = self._progress.add_task(what, reached=0.0)

    def __enter__(self) -> "_Display":
        self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()

    def show(self, _step, watchman) -> None:
        """A step was made."""
        self.tell(watchman.end - watchman.begin)

    def tell(self, reached: float) -> None:
        """So far it is."""
        self._progress.update(self._task, reached=reached)


def _tell(figures: dict) -> None:
    say = typer.echo
    for sentence in figures["differences"]:
        say(f"note: {sentence}")
    for sentence, count in figures["not_replayed"].items():
        say(f"not replayed ({count}): {sentence}")
    if (odd := figures["oddities"])["count"]:
        say(f"{odd['count']} oddities in the recording; the first:")
        for one in odd["first"][:5]:
            say(f"  {one['seconds']:9.3f} s  {one['topic']}: {one['what']}")
    pace = f"{figures['real_time_factor']:.1f} x real time, {figures['peak_memory_mb']:.0f} MB"
    say(f"{figures['plans']} plans of {figures['seconds']:.0f} s, {pace}")
    if figures["compared"]:
        worst = figures["worst"]
        say(
            f"{figures['compared']} compared with what was recorded: largest difference "
            f"{figures['max_abs_difference']:.3g}, plan {worst['sequence']} at "
            f"{worst['seconds']:.2f} s ({worst['instruction']})"
        )
    if (identical := figures["identical_observations"]) is not None:
        say(f"{identical} observations are bit by bit what the live policy saw")
    if executor := figures["executor"]:
        _tell_executor(executor)


def _tell_executor(executor: dict) -> None:
    typer.echo(f"executor: {executor['plans_followed']} plans followed, {executor['ticks']} ticks")
    for sentence, count in executor["refused"].items():
        typer.echo(f"  refused ({count}): {sentence}")
    for topic, distance in executor["commands"].items():
        typer.echo(
            f"  {topic}: {distance['count']} commands, off by {max(distance['max'].values()):.3g} "
            f"at most, {max(distance['rms'].values()):.3g} RMS"
        )
