# SPDX-License-Identifier: Apache-2.0
"""What an evaluation comes to, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dm0_ros.evaluation.words import FIGURES, say_count, say_figure, say_interval, say_share

LEVEL = 0.05
"""p below which a difference is called sure."""
_SAME = 1e-5  # rad or m: plans that are no further apart are the same


def make_headline(summary: Mapping, comparison: Mapping | None) -> str:
    """The verdict, in one sentence."""
    if comparison is not None:
        return say_difference(comparison)
    name = " and ".join(summary["checkpoints"])
    if find_replicas(summary):
        return f"{name} plans again what it planned live"
    error = summary["overall"]["normalised_error"]
    if error["value"] is None:
        return f"{name}: nothing that the robot did is known"
    return f"{name} plans {say_share(error['value'])} of the range away from what the robot did"


def find_replicas(summary: Mapping) -> bool:
    """Whether every plan is the recorded one."""
    apart = [bag["max_abs_difference"] for bag in summary["by_bag"].values()]
    return all(one is not None and one <= _SAME for one in apart)


def make_introduction(summary: Mapping) -> Iterator[str]:
    """What the headline is of, and the worst of it."""
    overall, bags = summary["overall"], summary["by_bag"]
    yield (
        f"{say_count(overall['plans'], 'plan')} in {say_count(overall['episodes'], 'episode')} of "
        f"{say_count(len(bags), 'bag')} ({summary['seconds']:.0f} s, {summary['robot']})."
    )
    if find_replicas(summary):
        greatest = max(bag["max_abs_difference"] for bag in bags.values())
        same = (
            f"is within {greatest:.2g} of the recorded one" if greatest else "is the recorded one"
        )
        yield f"Every number of a plan {same}."
    yield from _tell_errors(summary)
    identical = [bag["identical_observations"] for bag in bags.values()]
    if None not in identical:
        seen, compared = sum(identical), sum(bag["compared"] for bag in bags.values())
        if compared:
            yield f"{seen} of {compared} observations are bit by bit what the live policy saw."


def _tell_errors(summary: Mapping) -> Iterator[str]:
    overall = summary["overall"]
    error, table = overall["normalised_error"], summary["by_column"]
    if error["value"] is None:
        return
    known = {name: of["action"]["normalised"]["value"] for name, of in table.items()}
    worst = max((name for name in known if known[name] is not None), key=known.get)
    yield (
        "A number of a plan is off by "
        f"{say_share(error['value'])} of its column's range on average (95 %: "
        f"{say_interval(error, 'share')}); the worst column is {worst} with "
        f"{say_share(known[worst])}."
    )
    place, turn = overall["pose_mm"]["value"], overall["pose_degrees"]["value"]
    if place is not None:
        yield (
            f"The end effector would be {say_figure(place, 'mm')} and "
            f"{say_figure(turn, 'degrees')} from where it was."
        )


def say_difference(comparison: Mapping) -> str:
    """Which of two settings is better, and how sure that is, in one sentence."""
    ours, theirs = name_settings(comparison)
    main = comparison["figures"][comparison["main"]]
    unit = FIGURES[comparison["main"]].unit
    if main["p"] is None:
        return f"{ours} and {theirs} cannot be compared: nothing is known of both"
    values = [say_figure(main[which], unit) for which in ("first", "second")]
    what = "of the range from what the robot did" if unit == "share" else "from where it was"
    said = f"{values[0]} instead of {values[1]} {what} ({say_chance(main['p'])})"
    if main["p"] >= LEVEL:
        return f"No sure difference between {ours} and {theirs}: {said}"
    return (
        f"{ours} is {'nearer' if main['difference'] > 0 else 'further off'} than {theirs}: {said}"
    )


def name_settings(comparison: Mapping) -> tuple[str, str]:
    """The setting that the page is about, and the one that it is compared with."""
    ours, theirs = (" and ".join(comparison[which]) for which in ("first", "second"))
    return ours, f"{theirs} (against)" if ours == theirs else theirs


def say_chance(p: float) -> str:
    """p = 0.03, p < 0.001."""
    return f"p {'' if p < 0.001 else '= '}{say_p(p)}"


def say_p(p: float) -> str:
    """0.03, < 0.001."""
    return "< 0.001" if p < 0.001 else f"{p:.2g}"
