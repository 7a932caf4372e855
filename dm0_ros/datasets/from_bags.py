# SPDX-License-Identifier: Apache-2.0
"""Bags to a dataset: every bag is staged, then all that can be used is written as one folder."""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dm0_ros.datasets.settings import Cut, Format
from dm0_ros.datasets.staging import BagReport, Staged, stage_bag
from dm0_ros.errors import Dm0Error
from dm0_ros.policy.trace import TRACE_TOPIC, digest_robot, find_commit, find_version
from dm0_ros.replay.bag import read_raw
from dm0_ros.replay.layout import PLANS, find_layout
from dm0_ros.replay.plans import pair_traces
from dm0_ros.training.sources.stored import StoredEpisode, StoredFile, StoredIndex

_VERSION = 1  # of the metadata about where a dataset comes from


@dataclass(frozen=True)
class Outcome:
    """What became of all bags."""

    folder: Path
    episodes: int
    frames: int
    left_out: list[tuple[str, str, str]]  # bag, episode, why
    notes: list[str]  # what is odd, and did no harm


def convert(
    bags: Sequence[Path],
    out: Path,
    cut: Cut,
    kind: Format,
    jobs: int = 1,
    told: Callable[[BagReport], None] = lambda report: None,
    command: str = "",
) -> Outcome:
    """Write the episodes of ``bags`` into the new folder ``out``; ``told`` hears of every bag.

    ``jobs`` bags are staged at once, which changes nothing but the time that it takes. The folder
    appears when all of it is written. Raises `Dm0Error` where ``out`` exists, a bag is none, two
    are the same, or nothing can be used.
    """
    unfinished = out.with_name(f"{out.name}.unfinished")
    for path in (out, unfinished):
        if path.exists():
            raise Dm0Error(f"{path} exists; remove it, or choose another --out")
    twice = [str(bag) for bag, n in Counter(bag.resolve() for bag in bags).items() if n > 1]
    if twice:
        raise Dm0Error(f"{', '.join(twice)}: named twice; each bag counts once")
    if kind is Format.LEROBOT and abs(1 / cut.step - round(1 / cut.step)) > 1e-6:
        raise Dm0Error(
            f"LeRobot has whole frames a second, and {1 / cut.step:g} are none; choose another "
            "--rate, or --format episodes"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with _make_room(out) as room:
        reports = []
        for report in _stage_all(bags, cut, room, jobs):
            told(report)
            reports.append(report)
        reports = _keep_sizes(reports, kind)
        staged = [one for report in reports for one in report.staged]
        notes = [f"{r.bag}: {note}" for r in reports for note in _compare(r, cut)]
        left_out = [(r.bag, title, why) for r in reports for title, why in r.left_out]
        if not staged:
            raise Dm0Error(_explain(left_out))
        about = _describe(reports, cut, left_out, notes, command)
        write = _write_lerobot if kind is Format.LEROBOT else _write_episodes
        write(out, unfinished, staged, cut, about)
    return Outcome(out, len(staged), sum(one.frames for one in staged), left_out, notes)


def find_step(bags: Sequence[Path], namespace: str) -> float:
    """The step of the plans in the bags, s. Raises `Dm0Error` where they have none, or several."""
    steps: dict[float, Path] = {}
    for bag in bags:
        layout = find_layout(bag, namespace)
        if layout.holds(PLANS):
            topics = [layout.name(PLANS), layout.name(TRACE_TOPIC)]
            plans = pair_traces(read_raw(bag, topics), layout.holds(TRACE_TOPIC))
            plan = next((plan for plan in plans if plan.inferred), None)
            if plan is not None:
                steps[round(plan.plan.step, 6)] = bag
    if len(steps) == 1:
        return next(iter(steps))
    said = ", ".join(f"{step:g} s in {bag}" for step, bag in steps.items())
    raise Dm0Error(
        f"the plans in the bags have different steps ({said}); choose one with --rate or --step"
        if steps
        else "the bags have no plans to say how far rows are apart; say --rate or --step"
    )


@contextmanager
def _make_room(out: Path) -> Iterator[Path]:
    """A folder for what is staged, on the same disk."""
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as name:
        yield Path(name)


def _stage_all(bags, cut: Cut, room: Path, jobs: int) -> Iterator[BagReport]:
    """Reports in the order of the bags."""
    places = [room / str(number) for number in range(len(bags))]
    if jobs == 1 or len(bags) == 1:
        yield from map(stage_bag, bags, [cut] * len(bags), places)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(bags)), mp_context=context) as pool:
        yield from pool.map(stage_bag, bags, [cut] * len(bags), places)


def _keep_sizes(reports: list[BagReport], kind: Format) -> list[BagReport]:
    """Leave out episodes whose pictures are not as large as those of most."""
    staged = [one for report in reports for one in report.staged]
    sizes = Counter(tuple(sorted(one.sizes.items())) for one in staged)
    if not sizes:
        return reports
    usual = dict(sizes.most_common(1)[0][0])
    odd = [slot for slot, size in usual.items() if size[0] % 2 or size[1] % 2]
    if odd and kind is Format.LEROBOT:
        height, width = usual[odd[0]]
        raise Dm0Error(
            f"pictures of camera '{odd[0]}' are {width}x{height}, and videos have even numbers of "
            "pixels; choose --format episodes"
        )
    kept = []
    for report in reports:
        wrong = [one for one in report.staged if one.sizes != usual]
        why = [(o.span.title, f"its pictures are {o.sizes}, others are {usual}") for o in wrong]
        right = [one for one in report.staged if one.sizes == usual]
        kept.append(replace(report, staged=right, left_out=report.left_out + why))
    return kept


def _compare(report: BagReport, cut: Cut) -> list[str]:
    """What is odd about a bag that was used all the same."""
    notes = list(report.notes)
    recorded = report.facts.get("robot_digest")
    if recorded and recorded != digest_robot(cut.robot):
        notes.append(
            f"was recorded with another '{report.facts['robot']}' than {cut.robot.name} is now: "
            "see whether joints, units and cameras are the same"
        )
    return notes


def _explain(left_out: list[tuple[str, str, str]]) -> str:
    reasons = [f"{bag}: {title}: {why}" for bag, title, why in left_out[:5]]
    more = [f"and {len(left_out) - 5} more"] if len(left_out) > 5 else []
    return "\n".join(["no episode can be used, so nothing is written", *reasons, *more])


def _describe(reports, cut: Cut, left_out, notes, command: str) -> dict[str, Any]:
    """Where the dataset comes from."""
    episodes = [
        {"bag": number, **one.facts}
        for number, report in enumerate(reports)
        for one in report.staged
    ]
    return {
        "version": _VERSION,
        "command": command,
        "dm0_ros": {"version": find_version(), "commit": find_commit()},
        "robot": cut.robot.name,
        "robot_digest": digest_robot(cut.robot),
        "layout": cut.layout,
        "step": cut.step,
        "measured": list(cut.measured),
        "bags": [report.facts for report in reports],
        "episodes": episodes,
        "left_out": [dict(zip(("bag", "episode", "why"), one, strict=True)) for one in left_out],
        "notes": notes,
    }


def _write_episodes(out: Path, unfinished: Path, staged: list[Staged], cut: Cut, about) -> None:
    unfinished.mkdir()
    listed = []
    for number, one in enumerate(staged):
        name = f"{number:06d}.zip"
        shutil.move(one.file, unfinished / name)
        listed.append(StoredEpisode(name, one.frames, one.span.instruction))
    columns = cut.columns
    StoredIndex(
        robot=cut.robot.name,
        layout=cut.layout,
        fps=1 / cut.step,
        states=columns.state_columns,
        actions=columns.columns,
        cameras={slot: staged[0].sizes[slot] for slot in cut.slots},
        episodes=tuple(listed),
        about=about,
    ).save(unfinished)
    unfinished.rename(out)


def _write_lerobot(out: Path, _unfinished: Path, staged: list[Staged], cut: Cut, about) -> None:
    from dm0_ros.training.sources.lerobot_writer import Description, write_lerobot

    columns = cut.columns
    description = Description(
        fps=round(1 / cut.step),
        states=columns.state_columns,
        actions=columns.columns,
        cameras={slot: staged[0].sizes[slot] for slot in cut.slots},
        robot=cut.robot.name,
        about=about,
    )
    write_lerobot(out, map(_read_back, staged), description)


def _read_back(staged: Staged):
    """A staged episode as LeRobot's writer takes it; pictures are decoded on the way."""
    from dm0_ros.training.sources.lerobot_writer import Episode

    with StoredFile(staged.file, staged.span.title) as file:
        states, actions = file.array("states"), file.array("actions")
    pictures = {slot: _decode(staged, slot) for slot in staged.sizes}
    return Episode(staged.span.instruction, states, actions, pictures)


def _decode(staged: Staged, slot: str):
    with StoredFile(staged.file, staged.span.title) as file:
        for frame in range(staged.frames):
            yield file.picture(slot, frame)
