# SPDX-License-Identifier: Apache-2.0
"""`dm0 eval table30`: the tasks, their published scores, and RoboChallenge's jobs."""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from dm0_ros.commands.figures import write_figures
from dm0_ros.errors import Dm0Error

USER_VARIABLE = "ROBOCHALLENGE_USER"


def table30(
    task: Annotated[str, typer.Option(help="of Table30 [all are listed]")] = "",
    collection: Annotated[str, typer.Option(help="id of the jobs to run, all of --task")] = "",
    checkpoint: Annotated[str, typer.Option(help="[the task's specialist]")] = "",
    generalist: Annotated[bool, typer.Option(help="the robot's generalist instead")] = False,
    server: Annotated[str, typer.Option(help="address [the platform's own]")] = "",
    journal: Annotated[Path, typer.Option(help="folder: what was done, to go on with")] = Path(
        "out/table30"
    ),
    scores: Annotated[Path | None, typer.Option(help="YAML with scores of your own")] = None,
    rehearse: Annotated[bool, typer.Option(help="run a mock of the platform here")] = False,
    fault: Annotated[list[str] | None, typer.Option(help="of the mock: KIND@CALL+SKIPxN")] = None,
    chunks: Annotated[int, typer.Option(min=1, help="of a rehearsal's job")] = 3,
    device: Annotated[str, typer.Option(help="of the network: cpu, cuda, ...")] = "cpu",
    seed: Annotated[int, typer.Option(min=0, help="of the policy")] = 0,
    json_path: Annotated[Path | None, typer.Option("--json", help="file for the records")] = None,
) -> None:
    """RoboChallenge's Table30: list its tasks, run jobs on its robots, compare scores.

    With --collection, runs these jobs and can be called again after a crash: it goes on. Your id
    is read from the environment variable ROBOCHALLENGE_USER. With --rehearse, a mock of the
    platform is started on the loopback, and every robot (or that of --task) runs a job with the
    shipped checkpoint.
    """
    from dm0_ros.challenge.results import load_own
    from dm0_ros.challenge.table import find_task, load_table30

    own = load_own(scores) if scores else {}
    found = find_task(task) if task else None
    if fault and not rehearse:
        raise Dm0Error("--fault is for rehearsals; give --rehearse too")
    if rehearse:
        from dm0_ros.commands.rehearsal import rehearse_tasks

        tasks = [found] if found else None
        records = rehearse_tasks(tasks, checkpoint, fault or [], chunks, device, seed)
    elif collection:
        if found is None:
            raise Dm0Error("--collection needs --task: which of Table30 its jobs are")
        table = load_table30()
        if server:
            table = replace(table, platform=replace(table.platform, address=server))
        name = checkpoint or (found.generalist if generalist else found.specialist)
        records = {found.name: _run(found, collection, name, table, journal, device, seed)}
    else:
        records = {}
        _show_tasks([found] if found else None, own)
    if records:
        _show_records(records, own)
    if json_path:
        jobs = {name: [asdict(item) for item in items] for name, items in records.items()}
        write_figures(json_path, jobs)


def _run(found, collection, checkpoint, table, folder, device, seed) -> list:
    from dm0_ros.challenge.collection import run_collection
    from dm0_ros.policy.registry import load_policy
    from dm0_ros.robots import load_robot

    user = os.environ.get(USER_VARIABLE, "")
    if not user:
        raise Dm0Error(f"{USER_VARIABLE} is not set: export it with your id at RoboChallenge")
    policy = load_policy(checkpoint, load_robot(found.robot), device=device, seed=seed)
    try:
        policy.warm_up()
        return run_collection(collection, found, policy, table, user, folder, typer.echo)
    finally:
        policy.close()


def _show_tasks(tasks: list | None, own: dict) -> None:
    """One line a task: whose robot, and our scores beside the published ones."""
    from rich.console import Console
    from rich.table import Table

    from dm0_ros.challenge.results import load_published
    from dm0_ros.challenge.table import load_tasks

    published = load_published()
    shown = Table(title="Table30: success rate in % / score", caption=published.sources["table30"])
    shown.add_column("task", no_wrap=True)
    for column in ("robot", "ours", "DM0 specialist", "DM0 generalist", "pi0", "pi0.5"):
        shown.add_column(column)
    for item in tasks or load_tasks().values():
        scores = published.table30[item.name]
        shown.add_row(item.name, item.robot, _pair(own.get(item.name)), *_pairs(scores))
    if tasks is None:
        shown.add_section()
        complete = len(own) == len(load_tasks())
        mean = [sum(column) / len(own) for column in zip(*own.values(), strict=True)]
        shown.add_row(
            "average", "", _pair(mean) if complete else f"{len(own)} of {len(load_tasks())}",
            *_pairs(published.average),
        )  # fmt: skip
    console = Console()
    console.print(shown)
    if tasks is None:
        console.print(f"Exchanged in some versions of the source: {', '.join(published.swapped)}")
        return
    for item in tasks:
        console.print(f"prompt:     {item.prompt}", highlight=False)
        console.print(f"specialist: {item.specialist}", highlight=False)
        console.print(f"generalist: {item.generalist}", highlight=False)


def _show_records(records: dict[str, list], own: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    from dm0_ros.challenge.results import load_published

    published = load_published().table30
    shown = Table(title="Jobs; published: success rate in % / score")
    columns = ("task", "job", "outcome", "chunks", "refused", "doubtful", "reason")
    for column in (*columns, "ours", "DM0 specialist", "DM0 generalist"):
        shown.add_column(column, overflow="fold")
    for name, jobs in records.items():
        scores = _pair(own.get(name)), *_pairs(published[name])[:2]
        for index, job in enumerate(jobs):
            counts = (str(count) for count in (job.chunks, job.refusals, job.doubtful))
            end = job.outcome.value if job.outcome else "open"
            beside = ("", "", "") if index else scores
            shown.add_row("" if index else name, job.name, end, *counts, job.reason, *beside)
    Console().print(shown)


def _pairs(scores) -> list[str]:
    """Specialist, generalist, pi0 and pi0.5."""
    return [
        _pair(item) for item in (scores.specialist, scores.generalist, scores.pi0, scores.pi05)
    ]


def _pair(pair) -> str:
    return f"{pair[0]:g} / {pair[1]:.2f}" if pair else "-"
