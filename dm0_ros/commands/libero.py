# SPDX-License-Identifier: Apache-2.0
"""`dm0 eval libero`: success rates in LIBERO's suites and in one of our own."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dm0_ros.commands.figures import write_figures
from dm0_ros.errors import Dm0Error

_NOT_COMPARABLE = (
    "The suite 'offline' is our own: blocks and a bin, under LIBERO's contract. No score in it "
    "has been published, and none compares with those of LIBERO's suites."
)


def libero(
    suite: Annotated[str, typer.Option(help="offline, libero_spatial, libero_object, ...")],
    episodes: Annotated[int, typer.Option(min=1, help="of each task, at most 50")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="of noise and of random actions")] = 7,
    tasks: Annotated[str, typer.Option(help="by number, with commas between [all]")] = "",
    policies: Annotated[str, typer.Option(help="expert,random,checkpoint [those that can]")] = "",
    checkpoint: Annotated[str, typer.Option(help="name or folder, with layout 'command'")] = "",
    records: Annotated[Path | None, typer.Option(help="JSON lines to keep and go on from")] = None,
    processes: Annotated[int, typer.Option(min=1, help="to work at once")] = 1,
    device: Annotated[str, typer.Option(help="of the network: cpu, cuda, ...")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="of the network, in each process")] = 1,
    json_path: Annotated[Path | None, typer.Option("--json", help="file for the figures")] = None,
) -> None:
    """LIBERO: success by task, with 95 % intervals, beside what was published for DM0.

    LIBERO's own suites need its package and assets (docs/libero.md); 'offline' needs nothing.
    `expert` knows where things are and `random` knows nothing: they bracket a checkpoint. The same
    seed gives the same figures.
    """
    from dm0_ros.libero.evaluation import Conditions, list_keys, run_all
    from dm0_ros.libero.records import Records, Run
    from dm0_ros.libero.summary import summarise

    if checkpoint:  # torch, which is not imported yet, reads it here and in further processes
        os.environ["OMP_NUM_THREADS"] = str(threads)
    conditions = Conditions(suite, seed, checkpoint, device)
    instructions, wanted = _check(conditions, episodes, policies)
    chosen = _choose_tasks(tasks, len(instructions))
    done = Records(records, Run(suite, seed, _identify(checkpoint)))
    keys = list_keys(wanted, chosen, episodes)
    _work(done, run_all, conditions, done.missing(keys), processes)
    kept = [result for result in done.results if result.key in keys]
    figures = {
        name: summarise([result for result in kept if result.policy == name], instructions)
        for name in wanted
    }
    _show(suite, figures, instructions)
    result = {"suite": suite, "episodes": episodes, "seed": seed, "checkpoint": checkpoint}
    write_figures(json_path, result | {"policies": figures, "published": _published(suite)})


def _check(conditions, episodes: int, policies: str) -> tuple[Sequence[str], list[str]]:
    """The suite's instructions and the wanted policies, where they can be had here."""
    from dm0_ros.libero.environment import open_environment
    from dm0_ros.libero.evaluation import AGENTS
    from dm0_ros.libero.suites import OFFLINE, load_suites

    trials = load_suites().trials
    if episodes > trials:
        raise Dm0Error(
            f"--episodes: there are {trials} initial states of each task; ask for fewer"
        )
    environment = open_environment(conditions.suite, conditions.seed)
    instructions = environment.instructions
    environment.close()
    usual = ["checkpoint"] if conditions.checkpoint else []
    usual = usual or (["expert", "random"] if conditions.suite == OFFLINE else ["random"])
    wanted = [name.strip() for name in policies.split(",") if name.strip()] or usual
    unknown = [name for name in wanted if name not in AGENTS]
    if unknown:
        raise Dm0Error(f"--policies: {', '.join(unknown)}: choose among {', '.join(AGENTS)}")
    if "expert" in wanted and conditions.suite != OFFLINE:
        raise Dm0Error("--policies: the expert knows the suite 'offline' alone; leave it out")
    if ("checkpoint" in wanted) is not bool(conditions.checkpoint):
        raise Dm0Error("--policies 'checkpoint' and --checkpoint NAME go together; give both")
    return instructions, list(dict.fromkeys(wanted))


def _choose_tasks(text: str, count: int) -> list[int]:
    if not text:
        return list(range(count))
    parts = [part.strip() for part in text.split(",")]
    wrong = [part for part in parts if not part.isdecimal() or int(part) >= count]
    if wrong:
        raise Dm0Error(f"--tasks: {', '.join(wrong)}: write numbers from 0 to {count - 1}")
    return list(dict.fromkeys(map(int, parts)))


def _identify(checkpoint: str) -> str:
    """The checkpoint's name and what it holds, so that records notice another one."""
    if not checkpoint:
        return ""
    from dm0_ros.libero.suites import load_libero_robot
    from dm0_ros.policy.registry import find_checkpoint
    from dm0_ros.policy.trace import digest_checkpoint

    folder = find_checkpoint(checkpoint, load_libero_robot().name).folder
    return f"{checkpoint} {digest_checkpoint(folder)[:16]}"


def _work(done, run_all, conditions, keys: list, processes: int) -> None:
    from rich.progress import Progress

    with Progress(transient=True) as display:
        results = run_all(conditions, keys, processes)
        for result in display.track(results, total=len(keys), description=conditions.suite):
            done.add(result)


def _published(suite: str) -> float | None:
    """DM0's success rate in %, where one was published."""
    from dm0_ros.challenge.results import load_published
    from dm0_ros.libero.suites import load_suites

    key = load_suites().find(suite).published
    return None if key is None else load_published().libero[key]


def _show(suite: str, figures: dict[str, Any], instructions: Sequence[str]) -> None:
    from rich.console import Console

    console = Console()
    console.print(_task_table(suite, figures, instructions))
    console.print(_suite_table(suite, figures))
    console.print(_NOT_COMPARABLE)
    for name, summary in figures.items():
        for error in summary["errors"]:
            console.print(f"{name} gave up in some episodes: {error}", highlight=False)


def _task_table(suite: str, figures: dict[str, Any], instructions: Sequence[str]):
    from rich.table import Table

    table = Table(title=f"{suite}: successes in %, and 95 % intervals")
    table.add_column("task", overflow="fold")
    for name in figures:
        table.add_column(name, no_wrap=True)
    numbers = sorted({int(task) for summary in figures.values() for task in summary["tasks"]})
    for task in numbers:
        cells = [_cell(summary["tasks"][str(task)]) for summary in figures.values()]
        table.add_row(f"{task} {instructions[task]}", *cells)
    table.add_section()
    table.add_row("all", *(_cell(summary) for summary in figures.values()))
    table.add_row("episodes", *(str(summary["episodes"]) for summary in figures.values()))
    return table


def _suite_table(suite: str, figures: dict[str, Any]):
    """LIBERO's suites as published, and ours where it is this one."""
    from rich.table import Table

    from dm0_ros.challenge.results import load_published
    from dm0_ros.libero.suites import OFFLINE, load_suites

    source = load_published().sources["libero"]
    table = Table(title="Suites: successes in %", caption=f"Published: {source}.")
    for column in ("suite", "DM0 published", *figures):
        table.add_column(column, no_wrap=True)
    for name in load_suites().suites:
        if name == OFFLINE:
            table.add_section()
        rate = _published(name)
        own = [_cell(s) if name == suite else "" for s in figures.values()]
        table.add_row(name, "none" if rate is None else f"{rate:g}", *own)
    return table


def _cell(figures: dict[str, Any]) -> str:
    low, high = figures["success_95"]
    return f"{100 * figures['success']:.1f} ({100 * low:.0f}-{100 * high:.0f})"
