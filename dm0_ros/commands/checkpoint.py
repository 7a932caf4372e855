# SPDX-License-Identifier: Apache-2.0
"""`dm0 checkpoint`: which there are, fetch one, look into one."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from dm0_ros.policy.inspection import Inspection
    from dm0_ros.policy.settings import PolicySettings

checkpoint = typer.Typer(
    help="Public checkpoints: list, download and inspect them.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

_Name = Annotated[str, typer.Argument(help="a name of 'dm0 checkpoint list', or OWNER/NAME")]
_Json = Annotated[bool, typer.Option("--json", help="for programs")]


@checkpoint.command("list")
def list_all(
    tasks: Annotated[
        bool, typer.Option(help="also what each generalist can be asked for")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Every public checkpoint: its robot, what it does, and whether it is on this machine."""
    from dm0_ros.model import hub
    from dm0_ros.policy.catalogue import load_catalogue

    entries = [e for e in load_catalogue().values() if tasks or as_json or ":" not in e.name]
    here = {e.repository: hub.find_cached(hub.Repository(e.repository)) for e in entries}
    if as_json:
        _write([{**asdict(e), "folder": here[e.repository]} for e in entries])
        return
    table = _table("name", "robot", "rows", "step", "instruction", "here")
    for entry in entries:
        settings, folder = entry.settings, here[entry.repository]
        told = entry.prompts[0] if len(entry.prompts) == 1 else ""
        if len(entry.prompts) > 1:
            told = f"{len(entry.prompts)} tasks, see --tasks"
        table.add_row(
            entry.name,
            entry.robot or "none: to be trained further",
            "" if settings is None else str(settings.executed_rows),
            "" if settings is None else f"{settings.step:.3g} s",
            told + (", predicts progress" if settings is not None and settings.progress else ""),
            "yes" if folder else "",
        )
    _print(table)


@checkpoint.command()
def download(name: _Name) -> None:
    """Fetch a checkpoint from the Hugging Face hub, or bring it up to date; then inspect it.

    Kept in HF_HOME. For a repository that asks for one, set HF_TOKEN to your token.
    """
    from dm0_ros.model import hub
    from dm0_ros.policy.registry import Checkpoint, parse_public

    entry, repository = parse_public(name)
    folder = hub.fetch(repository)
    _inspect(Checkpoint(folder, entry), False)


@checkpoint.command()
def inspect(
    path: Annotated[str, typer.Argument(help="a folder, or the name of one that is here")],
    as_json: _Json = False,
) -> None:
    """What a checkpoint holds, and every fault that can be seen without reading its weights.

    Ends with 1 where there is a fault.
    """
    from dm0_ros.policy.registry import find_checkpoint

    _inspect(find_checkpoint(path), as_json)


@checkpoint.command()
def settings(name: _Name) -> None:
    """A public checkpoint's settings, to be kept as policy.yaml in a copy of its folder."""
    from dm0_ros.policy.catalogue import find_entry
    from dm0_ros.policy.registry import Checkpoint
    from dm0_ros.policy.settings import dump_settings

    entry = find_entry(name)
    typer.echo(dump_settings(Checkpoint(Path(), entry).load_settings()), nl=False)


def _inspect(found: Any, as_json: bool) -> None:
    from dm0_ros.policy.inspection import inspect_checkpoint

    seen = inspect_checkpoint(found)
    if as_json:
        _write(asdict(seen))
    else:
        _show(seen)
    if seen.problems:
        raise typer.Exit(1)


def _show(seen: Inspection) -> None:
    from dm0_ros.model.headers import shorten

    _print(f"{seen.folder}")
    if seen.network:
        _print(
            ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in seen.network.items())
        )
    _print(_table_of_parts(seen))
    files = _table("file", "MB")
    for file, size in seen.files.items():
        files.add_row(file, f"{size / 1e6:.1f}")
    _print(files)
    for what, names in (("unknown", seen.extra), ("not used", seen.unused)):
        if names:
            _print(f"{what}: {shorten(names)}")
    if seen.settings is not None:
        _print(_table_of_settings(seen.settings, seen.action_columns))
    if seen.columns:
        _print(_table_of_columns(seen))
    for remark in seen.remarks:
        _print(f"note: {remark}")
    for problem in seen.problems:
        _print(f"fault: {problem}", "red")
    count = len(seen.problems)
    _print(f"{count or 'no'} fault{'' if count == 1 else 's'} found")


def _table_of_parts(seen: Inspection) -> Any:
    table = _table("part", "tensors", "parameters", "MB", "stored as")
    for part in seen.parts:
        numbers = (f"{part.tensors}", f"{part.parameters:,}", f"{part.size / 1e6:.1f}")
        table.add_row(part.name, *numbers, ", ".join(part.dtypes))
    totals = [sum(getattr(part, key) for part in seen.parts) for key in ("tensors", "parameters")]
    size = sum(part.size for part in seen.parts) / 1e6
    table.add_row("total", f"{totals[0]}", f"{totals[1]:,}", f"{size:.1f}", "")
    return table


def _table_of_settings(chosen: PolicySettings, columns: tuple[str, ...]) -> Any:
    table = _table("setting", "value")
    cameras = [f"{s} (empty)" if s in chosen.masked_slots else s for s in chosen.camera_slots]
    rows = {
        "name": chosen.name,
        "robots": ", ".join(chosen.robots),
        "cameras": ", ".join(cameras),
        "layout": chosen.layout,
        "action columns": ", ".join(columns) or "those of the robot, which config/ lacks",
        "step": f"{chosen.step:.4g} s",
        "rows executed": "not said" if chosen.executed_rows is None else f"{chosen.executed_rows}",
        "normalisation": chosen.normalisation.value,
        "gripper": _describe_gripper(chosen),
        "progress": "as config.json says" if chosen.progress is None else f"{chosen.progress}",
        "text": f"at most {chosen.max_text_tokens} tokens",
        "reasons": _describe_scaffold(chosen),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _describe_scaffold(chosen: PolicySettings) -> str:
    scaffold = chosen.scaffold
    if scaffold is None:
        return "no"
    levels = ", ".join(level.value for level in scaffold.levels)
    return f"{levels}, seen by {scaffold.view} and written in grammar {scaffold.grammar}"


def _describe_gripper(chosen: PolicySettings) -> str:
    rule = chosen.gripper
    if rule is None:
        return "as predicted"
    above = "as predicted" if rule.above is None else f"{rule.above:g}"
    return f"{rule.below:g} below {rule.threshold:g}, else {above}"


def _table_of_columns(seen: Inspection) -> Any:
    table = _table("column", "1 %", "99 %", "mean", "deviation")
    for column in seen.columns:
        numbers = (column.low, column.high, column.mean, column.std)
        table.add_row(f"{column.vector} {column.name}", *(f"{number:.4g}" for number in numbers))
    return table


def _table(*headings: str) -> Any:
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False)
    numbers = ("rows", "step", "tensors", "parameters", "MB", "1 %", "99 %", "mean", "deviation")
    for heading in headings:
        right = heading in numbers
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    return table


def _print(what: Any, style: str | None = None) -> None:
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    # where output goes to a file there is no width to keep to
    if not console.is_terminal:
        console.width = 200
    console.print(what, style=style, soft_wrap=isinstance(what, str))


def _write(content: Any) -> None:
    json.dump(content, sys.stdout, indent=1, default=str)
    sys.stdout.write("\n")
