# SPDX-License-Identifier: Apache-2.0
"""Two settings on a page: what differs, by how much, and whether that is chance; see `compare`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

import numpy as np

from dm0_ros.evaluation import plots
from dm0_ros.evaluation.verdicts import LEVEL, name_settings, say_p
from dm0_ros.evaluation.words import FIGURES, say_count, say_figure, say_interval
from dm0_ros.replay.html import Number, embed, make_table


def make_comparison(comparison: Mapping | None) -> Iterator[str]:
    """The section's content; nothing without a comparison. Differences are the first setting's,
    which the page is about, minus the second's: the other way round than in ``comparison``."""
    if comparison is None:
        return
    ours, theirs = name_settings(comparison)
    yield (
        f"<p>{escape(ours)} against {escape(theirs)}, over the same "
        f"{say_count(comparison['plans'], 'plan')} of "
        f"{say_count(comparison['episodes'], 'episode')} in "
        f"{say_count(comparison['bags'], 'bag')}; each episode counts as much. Of every figure "
        f"less is better. Ranges are those of {escape(ours)}.</p>"
    )
    for note in comparison["notes"]:
        yield f'<div class="note">{escape(note)}</div>'
    left_out = [*comparison["only_in_first"], *comparison["only_in_second"]]
    if left_out:
        yield f'<div class="note">Only in one of the two: {escape(", ".join(left_out))}</div>'
    known = {name: of for name, of in comparison["figures"].items() if of["p"] is not None}
    if not known:
        return
    yield _make_table(known, (ours, theirs), comparison["main"])
    yield _make_plot(comparison, known, f"{ours} against {theirs}: left of the line it is better")
    yield (
        "<p><b>p</b>: how likely a mean difference as large would be if the two were the same, by "
        "flipping the signs of whole episodes. <b>Corrected</b> (Holm), because several figures "
        "are looked at; the first one is the main one and is judged by its own p. Below "
        f"{LEVEL:g} a difference is called sure.</p>"
    )


def _make_table(known: Mapping, names: tuple[str, str], main: str) -> str:
    numbers = (*names, "difference", "95 %", "p", "corrected", "worse in")
    rows = []
    for name, of in known.items():
        _, short, unit = FIGURES[name]
        turned = _turn(of)
        rows.append(
            (
                short,
                *(Number(say_figure(of[which], unit)) for which in ("first", "second")),
                Number(say_figure(turned["value"], unit)),
                Number(say_interval(turned, unit)),
                Number(say_p(of["p"])),
                Number(say_p(of["p_holm"])),
                Number(f"{of['better']} of {of['episodes']}"),
                _say(turned["value"], names[0], of["p"] if name == main else of["p_holm"]),
            )
        )
    return make_table(("", *map(Number, numbers), "in words"), rows)


def _turn(figure: Mapping) -> dict:
    """A difference the other way round."""
    low, high = figure["low"], figure["high"]
    known = low is not None
    return {
        "value": -figure["difference"],
        "low": -high if known else None,
        "high": -low if known else None,
    }


def _say(difference: float, name: str, p: float) -> str:
    if not difference:
        return "the same"
    if p >= LEVEL:
        return "may be chance"
    return f"{name} is {'better' if difference < 0 else 'worse'}"


def _make_plot(comparison: Mapping, known: Mapping, caption: str) -> str:
    """Differences as a share of the mean of both, of figures and of columns."""
    named = {FIGURES[name].short: of for name, of in known.items()}
    named |= {name: of for name, of in comparison["columns"].items() if of["p"] is not None}
    rows = {}
    for name, of in named.items():
        mean, turned = (of["first"] + of["second"]) / 2, _turn(of)
        if mean > 0 and turned["low"] is not None:
            rows[name] = [100.0 * value / mean for value in turned.values()]
    if not rows:
        return ""
    band = tuple(np.array(list(rows.values())).T)
    plot = plots.plot_differences(list(rows), band, "less or more, in % of the mean of both")
    image = embed(plot, "svg+xml", "Differences of figures and columns")
    return (
        f'<div class="plots"><figure><figcaption>{escape(caption)}</figcaption>{image}</figure>'
        "</div>"
    )
