# SPDX-License-Identifier: Apache-2.0
"""What an evaluation comes to, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dm0_ros.evaluation.words import say_count, say_figure, say_interval, say_share

_SAME = 1e-5  # rad or m: plans that are no further apart are the same


def make_headline(summary: Mapping, comparison: Mapping | None) -> str:
    """The verdict, in one sentence."""
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
        yield f"No number of a plan is further than {greatest:.2g} from the recorded one."
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


def make_comparison(comparison: Mapping | None) -> Iterator[str]:
    """The section about two settings."""
    return iter(())
