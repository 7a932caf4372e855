# SPDX-License-Identifier: Apache-2.0
"""The episodes of a bag, by the marks that were published while it was recorded."""

from collections.abc import Iterable
from pathlib import Path

from dm0_ros.policy.marks import MARKS_TOPIC, Mark
from dm0_ros.replay.bag import read_messages


def read_marks(path: Path, prefix: str = "/") -> list[Mark]:
    """The newest mark of each episode, in their order; one without an end was cut by the bag's.

    ``prefix`` of the graph's names (`Layout.prefix`). Raises `Dm0Error` where a mark is none, or
    ``path`` is no bag.
    """
    messages = read_messages(path, [f"{prefix}{MARKS_TOPIC}"])
    return join_marks(Mark.parse(message.content.data) for message in messages)


def join_marks(marks: Iterable[Mark]) -> list[Mark]:
    """The newest mark of each episode. What ended before the first was heard of is left out:
    whoever joins late is told of the last episode.
    """
    newest: dict[str, Mark] = {}
    for mark in marks:
        if mark.end is None or mark.episode in newest:
            newest[mark.episode] = mark
    return list(newest.values())


def sort_marks(marks: Iterable[Mark]) -> list[Mark]:
    """By their beginnings; those without an instruction, which say nothing to do, are left out."""
    return sorted((mark for mark in marks if mark.instruction), key=lambda mark: mark.begin)
