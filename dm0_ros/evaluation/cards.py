# SPDX-License-Identifier: Apache-2.0
"""The worst moments on a page: what was seen, planned and done, why, and how to see it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np

from dm0_ros.evaluation import plots
from dm0_ros.evaluation.moments import Moment, read_moment
from dm0_ros.evaluation.result import Result
from dm0_ros.evaluation.words import say_count, say_share
from dm0_ros.replay.html import embed

MOST = 8
"""Moments on a page."""
_SHOWN = 4  # columns of a moment that are shown at once: the others unfold

STYLE = """
.moment { border: 1px solid #d7dde5; border-left: .4rem solid #d50078; border-radius: 4px;
          padding: .8rem 1rem; margin: 1rem 0; }
.moment ul { margin: .3rem 0 .8rem; padding-left: 1.2rem; }
.lead { font-weight: 600; margin: .4rem 0; } .where { color: #5b6675; margin: 0; }
.sights { display: flex; flex-wrap: wrap; gap: .6rem; margin-bottom: .6rem; }
.sights figure { flex: 1 1 14rem; max-width: 26rem; } .sights img { width: 100%; }
.columns { display: grid; gap: .3rem .8rem;
           grid-template-columns: repeat(auto-fill, minmax(min(13rem, 100%), 1fr)); }
.columns img { width: 100%; display: block; } .columns figcaption b { color: #1c2430; }
summary { color: #2f6db3; font-size: .9rem; cursor: pointer; margin: .3rem 0; }
.commands { margin: .6rem 0 0; font-size: .9rem; }
.commands code { display: block; background: #f3f5f8; padding: .3rem .5rem; margin: .1rem 0 .4rem;
                 border-radius: 3px; }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .4rem 0; padding: 0;
       list-style: none; font-size: .9rem; }
.key i { display: inline-block; width: 1.8rem; height: .3rem; margin-right: .4rem;
         vertical-align: middle; }
@media print { .sights, .columns, .lead { break-inside: avoid; } }
"""

_KEY = (
    ("linear-gradient(90deg, #ffdd00, #d50078)", "the plan, in pictures: from next to last"),
    (plots.PLAN, "the plan, in plots"),
    ("#fff; outline: 1px solid #000", "what the robot did, in pictures"),
    (plots.DONE, "what the robot did, in plots"),
    (
        f"repeating-linear-gradient(90deg, {plots.RECORDED} 0 6px, #fff 6px 10px)",
        "the plan that was recorded at this moment",
    ),
)
_TOLD = (
    ("#00e676", "the goal that its reasoning names"),
    ("repeating-linear-gradient(90deg, #00c8ff 0 6px, #fff 6px 10px)", "the way it tells"),
)


def find_worst(results: Sequence[Result], most: int = MOST) -> list[tuple[Result, dict]]:
    """The worst moments of all bags, with what their results say of them; the worst first."""
    every = [(result, head) for result in results for head in result.content.get("moments", ())]
    return sorted(every, key=lambda pair: (-pair[1]["score"], pair[0].key))[:most]


def make_cards(worst: Sequence[tuple[Result, dict]]) -> Iterator[str]:
    """The section's content."""
    if not worst:
        yield "<p>No plan could be compared with what the robot did.</p>"
        return
    moments = [read_moment(result.folder, head["file"]) for result, head in worst]
    reasons = any("reasoning" in s for m in moments for s in m.content["sentences"])
    yield (
        "<p>The plans that were furthest from what the robot did, by the mean of their rows and "
        "columns, each as a share of its range; of two seconds of an episode the worst one.</p>"
    )
    yield _make_key(_KEY + _TOLD if reasons else _KEY)
    several = len({result.key for result, _ in worst}) > 1
    for number, ((result, _), moment) in enumerate(zip(worst, moments, strict=True), 1):
        yield _make_card(number, moment, result.key if several else "")


def _make_key(entries: Sequence[tuple[str, str]]) -> str:
    items = (f'<li><i style="background: {colour}"></i>{what}</li>' for colour, what in entries)
    return f'<ul class="key">{"".join(items)}</ul>'


def _make_card(number: int, moment: Moment, bag: str) -> str:
    content = moment.content
    lead, *others = content["sentences"]
    where = [f"{content['seconds']:.1f} s after the beginning of {bag or 'the bag'}"]
    where += [f"{content['in_episode']:.1f} s into the episode"]
    if content["sequence"] is not None:
        where.append(f"plan {content['sequence']}")
    where.append(f"off by {say_share(content['score'])} of the range")
    if content["outcome"]:
        where.append(f"the episode ended: {content['outcome'].replace('_', ' ')}")
    reasons = "".join(f"<li>{escape(sentence)}</li>" for sentence in others)
    return (
        f'<article class="moment" id="moment-{number}">'
        f"<h3>{number}. “{escape(content['instruction'])}”</h3>"
        f'<p class="where">{escape("; ".join(where))}</p><p class="lead">{escape(lead)}</p>'
        f"<ul>{reasons}</ul>"
        f'<div class="sights">{"".join(_make_sights(moment))}</div>'
        f"{_make_columns(moment)}{_make_commands(content['commands'])}</article>"
    )


def _make_sights(moment: Moment) -> Iterator[str]:
    for picture in moment.content["pictures"]:
        slot, note = picture["slot"], picture["note"]
        data = (moment.folder / Path(picture["file"])).read_bytes()
        caption = f"{slot}: {note}" if note else slot
        image = embed(data, "jpeg", f"What the policy saw: {caption}")
        yield f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _make_columns(moment: Moment) -> str:
    plots_ = list(_make_plots(moment))
    text = f'<div class="columns">{"".join(plots_[:_SHOWN])}</div>'
    if rest := plots_[_SHOWN:]:
        text += (
            f"<details><summary>{say_count(len(rest), 'more column')}</summary>"
            f'<div class="columns">{"".join(rest)}</div></details>'
        )
    return text


def _make_plots(moment: Moment) -> Iterator[str]:
    """One for each column, the worst first."""
    columns, curves = moment.content["columns"], moment.curves
    for index in np.argsort([-column["share"] for column in columns], kind="stable"):
        column = columns[index]
        title = f"{column['name']} ({column['unit']})" if column["unit"] else column["name"]
        plot = plots.plot_column(curves, int(index), moment.content["step"])
        image = embed(plot, "svg+xml", f"{title}: planned, recorded and done, over s")
        caption = f"<b>{escape(title)}</b> off by {say_share(column['share'])} of its range"
        yield f"<figure><figcaption>{caption}</figcaption>{image}</figure>"


def _make_commands(commands: dict) -> str:
    rows = (("See it", "view"), ("Replay it alone", "replay"))
    lines = (f"{what}: <code>{escape(commands[name])}</code>" for what, name in rows)
    return f'<div class="commands">{"".join(lines)}</div>'
