# SPDX-License-Identifier: Apache-2.0
"""report.html: what an evaluation found, in one file that needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from dm0_ros.evaluation import cards, sections, verdicts
from dm0_ros.evaluation.comparing import make_comparison
from dm0_ros.evaluation.result import Result
from dm0_ros.evaluation.words import UNKNOWN, say_count, say_figure
from dm0_ros.replay.html import Cell, Number, make_page, make_table

REPORT = "report.html"
_HASH = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{28}")  # of git; its beginning will do
_MOST_ROWS = 200  # of a table; the worst
_STYLE = """
h1 { font-size: clamp(1.35rem, 5vw, 2rem); overflow-wrap: anywhere; }
nav { margin: 1rem 0; } nav a { margin-right: 1rem; white-space: nowrap; color: #2f6db3; }
.lead-in { font-size: 1.05rem; } .absent { color: #5b6675; }
.note { border-left: .3rem solid #c77700; background: #fdf6ea; padding: .3rem .8rem;
        margin: .6rem 0; overflow-wrap: anywhere; }
.note ul { margin: .2rem 0; padding-left: 1.2rem; }
table.sortable th { cursor: pointer; }
td:not(.number) { min-width: 7.5rem; max-width: 24rem; overflow-wrap: anywhere; }
td.number { white-space: nowrap; }
@media print { nav { display: none; } }
"""
_SCRIPT = """
for (const head of document.querySelectorAll('table.sortable th')) head.onclick = () => {
  const body = head.closest('table').tBodies[0], place = head.cellIndex;
  const number = cell => cell.dataset.value === undefined ? NaN : +cell.dataset.value;
  const order = (a, b) => {
    const [x, y] = [a.cells[place], b.cells[place]];
    if (!head.classList.contains('number')) return x.textContent.localeCompare(y.textContent);
    return (isNaN(number(x)) - isNaN(number(y))) || number(y) - number(x);
  };
  const rows = [...body.rows].sort(order);
  if (head.dataset.down) rows.reverse();
  head.dataset.down = head.dataset.down ? '' : '1';
  body.append(...rows);
};
"""
_FIGURES: tuple[tuple[str, str, str], ...] = (
    ("normalised_error", "of the range", "share"),
    ("pose_mm", "tool (mm)", ""),
    ("pose_degrees", "tool (°)", ""),
    ("normalised_error_of_plans", "from the recorded plans", "share"),
    ("switch_off_s", "grippers off (s)", ""),
    ("progress_error", "progress", "share"),
)
"""Of the tables of bags, instructions and episodes."""


def write_report(
    folder: Path, summary: Mapping, results: Sequence[Result], comparison: Mapping | None
) -> Path:
    """Write the page of an evaluation into its folder; returns where it is.

    ``summary`` is of `summarise`, ``results`` are those that it sums up, ``comparison`` is with
    another setting, where there is one.
    """
    results = sorted(results, key=lambda result: result.key)
    parts = [
        ("compared", "Compared", make_comparison(comparison)),
        ("figures", "Figures", sections.make_figures(summary["overall"])),
        ("moments", "Worst moments", cards.make_cards(cards.find_worst(results))),
        ("columns", "By column", sections.make_columns(summary)),
        ("rows", "Along the plan", sections.make_rows(summary)),
        ("grippers", "Grippers", sections.make_grippers(summary, results)),
        ("motion", "Commands, rehearsed", sections.make_motion(summary)),
        ("progress", "Progress", sections.make_progress(summary)),
        ("reasoning", "Reasoning", sections.make_reasoning(summary)),
        ("latency", "Latency", sections.make_latency(summary, results)),
        ("episodes", "Episodes", _make_episodes(summary)),
        ("instructions", "Instructions", _make_instructions(summary)),
        ("bags", "Bags", _make_bags(summary)),
    ]
    headline = verdicts.make_headline(summary, comparison)
    body = _make_body(headline, verdicts.make_introduction(summary), summary, parts)
    style = sections.STYLE + cards.STYLE + _STYLE
    path = folder / REPORT
    path.write_text(make_page(headline, body, style, _SCRIPT), encoding="utf-8")
    return path


def _make_body(
    headline: str,
    introduction: Iterable[str],
    summary: Mapping,
    parts: Iterable[tuple[str, str, Iterable[str]]],
) -> Iterator[str]:
    yield f"<h1>{escape(headline)}</h1>"
    yield f'<p class="lead-in">{escape(" ".join(introduction))}</p>'
    written = [(name, title, "".join(content)) for name, title, content in parts]
    written = [part for part in written if part[2]]
    links = (f'<a href="#{name}">{title}</a>' for name, title, _ in written)
    yield f"<nav>{' '.join(links)}</nav>"
    yield from _make_notes(summary)
    for name, title, content in written:
        yield f'<section><h2 id="{name}">{title}</h2>{content}</section>\n'


def _make_notes(summary: Mapping) -> Iterator[str]:
    """What was not as it was recorded, and what could not be replayed: each sentence once."""
    notes: dict[str, list[str]] = {}
    for key, bag in summary["by_bag"].items():
        for sentence in bag["differences"]:
            notes.setdefault(sentence, []).append(key)
        for sentence, count in bag["not_replayed"].items():
            said = f"{say_count(count, 'plan')} not replayed: {sentence}"
            notes.setdefault(said, []).append(key)
    if not notes:
        return
    bags = len(summary["by_bag"])
    items = (
        f"<li>{escape(_shorten(sentence) + _say_where(keys, bags))}</li>"
        for sentence, keys in notes.items()
    )
    yield f'<div class="note">Not as it was recorded:<ul>{"".join(items)}</ul></div>'


def _shorten(sentence: str) -> str:
    return _HASH.sub(r"\1", sentence)


def _say_where(keys: Sequence[str], bags: int) -> str:
    if bags == 1:
        return ""
    return (
        " (every bag)"
        if len(keys) == bags
        else f" ({', '.join(keys[:3])}{', …' * (len(keys) > 3)})"
    )


def _make_episodes(summary: Mapping) -> Iterator[str]:
    episodes = summary["by_episode"]
    several = len(summary["by_bag"]) > 1
    facts: list[Cell] = ["instruction", Number("begins (s)"), Number("lasts (s)"), "ended"]
    entries = [
        (
            [
                *([episode["bag"]] if several else []),
                episode["instruction"],
                Number(f"{episode['begin']:.1f}", episode["begin"]),
                _seconds(episode["end"] - episode["begin"]),
                episode["outcome"].replace("_", " ") or UNKNOWN,
            ],
            episode,
        )
        for episode in episodes
    ]
    yield from _make_group([*(["bag"] if several else []), *facts], entries)


def _make_instructions(summary: Mapping) -> Iterator[str]:
    entries = [
        ([name, Number(str(figures["episodes"]), figures["episodes"])], _values(figures))
        for name, figures in summary["by_instruction"].items()
    ]
    yield from _make_group(["instruction", Number("episodes")], entries)


def _make_bags(summary: Mapping) -> Iterator[str]:
    entries = []
    for bag in summary["by_bag"].values():
        identical, compared = bag["identical_observations"], bag["compared"]
        seen = UNKNOWN if identical is None else f"{identical} of {compared}"
        row = [bag["bag"], _seconds(bag["seconds"]), Number(seen, identical)]
        row.append(_number(bag["max_abs_difference"], ""))
        entries.append((row, _values(bag["figures"])))
    head = ["bag", Number("lasts (s)"), Number("seen as live"), Number("largest difference")]
    yield from _make_group(head, entries)
    yield (
        "<p><b>Seen as live</b>: observations that are bit by bit what the live policy saw. "
        "<b>Largest difference</b>: of a number of the plans from the recorded ones, rad or m.</p>"
    )


def _make_group(
    head: Sequence[Cell], entries: Sequence[tuple[list[Cell], Mapping]]
) -> Iterator[str]:
    """A table of groups, each with its own cells and its figures' values, worst first."""
    shown = [figure for figure in _FIGURES if any(of[figure[0]] is not None for _, of in entries)]
    entries = sorted(entries, key=lambda entry: -(entry[1]["normalised_error"] or 0.0))
    if len(entries) > _MOST_ROWS:
        yield f"<p>The worst {_MOST_ROWS} of {len(entries)}; figures.json has all.</p>"
    yield make_table(
        [*head, Number("plans"), *(Number(label) for _, label, _ in shown)],
        (
            [
                *cells,
                Number(str(of["plans"]), of["plans"]),
                *(_number(of[name], unit) for name, _, unit in shown),
            ]
            for cells, of in entries[:_MOST_ROWS]
        ),
        "sortable",
    )


def _values(figures: Mapping) -> dict:
    """Of estimates, their values."""
    return {name: of["value"] if isinstance(of, Mapping) else of for name, of in figures.items()}


def _seconds(seconds: float) -> Number:
    return Number(f"{seconds:.1f}", seconds)


def _number(value: float | None, unit: str) -> Number:
    return Number(say_figure(value, unit), value)
