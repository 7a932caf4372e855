# SPDX-License-Identifier: Apache-2.0
"""The words and signs that a scaffold is written with, as config/scaffold/*.yaml has them."""

from dataclasses import astuple, dataclass, fields, is_dataclass
from typing import NoReturn

from dm0_ros.errors import ScaffoldError
from dm0_ros.scaffold.content import EDGES, PATH_NAMES
from dm0_ros.scaffold.levels import Level

SLOT = "{}"
"""Stands for a number or for a list in a template."""
INSTRUCTION = "{instruction}"


@dataclass(frozen=True)
class Labels:
    """What the line of each level begins with; may be empty."""

    subtask: str
    box: str
    trajectory: str
    action: str

    def of(self, level: Level) -> str:
        """The label of one level."""
        return getattr(self, level.value)


@dataclass(frozen=True)
class PathLabels:
    """What stands before the points of each path."""

    main: str
    left: str
    right: str

    def of(self, name: str) -> str:
        """The label of one path."""
        return getattr(self, name)


@dataclass(frozen=True)
class Between:
    """What separates one point, path or action from the next."""

    points: str
    paths: str
    actions: str


@dataclass(frozen=True)
class Questions:
    """Wordings that ask for a scaffold up to each level; `{instruction}` is what is to be done."""

    subtask: tuple[str, ...]
    box: tuple[str, ...]
    trajectory: tuple[str, ...]
    action: tuple[str, ...]

    def of(self, level: Level) -> tuple[str, ...]:
        """The wordings for one level, all with the same meaning."""
        return getattr(self, level.value)


@dataclass(frozen=True)
class Templates:
    """The content of a templates file. Raises `ScaffoldError` with the key that is wrong."""

    labels: Labels
    paths: PathLabels
    between: Between
    box: str  # of four numbers
    point: str  # of two
    action: str  # of one: a token of the vocabulary
    actions: str  # around the list of actions
    none: str  # in place of a box or of paths that are not in the picture
    digits: int  # at least, in places: 7 is 007 with three
    reserved: tuple[str, ...]  # what no subtask may contain, since it means something else
    questions: Questions
    unverified: str | None = None  # why these may not be the words that a checkpoint learnt

    def __post_init__(self) -> None:
        for key, text in (("box", self.box), ("point", self.point), ("action", self.action)):
            _check_pattern(key, text, {"box": len(EDGES), "point": 2, "action": 1}[key])
        if self.actions.count(SLOT) != 1:
            _refuse(("actions",), f"must have one {SLOT}, where the actions go")
        if not 1 <= self.digits <= 4:
            _refuse(("digits",), f"is {self.digits}; places have 1 to 4 digits")
        _check_one_line(self)
        _check_labels(self)
        for level in Level:
            for index, text in enumerate(self.questions.of(level)):
                if INSTRUCTION not in text:
                    _refuse(("questions", level.value, index), f"has no {INSTRUCTION}")
            if not self.questions.of(level):
                _refuse(("questions", level.value), "is empty; word at least one question")

    def openings(self, level: Level) -> tuple[str, ...]:
        """What tells the line of a level from others; empty where nothing does."""
        label = self.labels.of(level)
        if not label and level is Level.TRAJECTORY:
            return astuple(self.paths)
        return (label,) if label else ()

    @property
    def action_opening(self) -> str:
        """What every action begins with."""
        return self.action.split(SLOT)[0]


def _check_pattern(key: str, text: str, count: int) -> None:
    pieces = text.split(SLOT)
    if len(pieces) != count + 1:
        _refuse((key,), f"has {len(pieces) - 1} times {SLOT}; it must have {count}")
    # A number ends where its digits end: nothing else tells it from what follows.
    if not all(pieces[1:-1]) or any(piece[:1].isdigit() for piece in pieces[1:]):
        _refuse((key,), "must have a sign other than a digit after each number")


def _check_one_line(templates: Templates) -> None:
    for item in fields(templates):
        value = getattr(templates, item.name)
        texts = astuple(value) if is_dataclass(value) else (value,)
        if item.name not in ("questions", "unverified") and any("\n" in str(t) for t in texts):
            _refuse((item.name,), "has a line break; one line holds one level")


def _check_labels(templates: Templates) -> None:
    names = [templates.paths.of(name) for name in PATH_NAMES]
    for index, name in enumerate(names):
        others = [other for other in names if other is not name]
        if not name or name[0].isdigit() or any(other.startswith(name) for other in others):
            _refuse(
                ("paths", PATH_NAMES[index]),
                "must be a label of its own, not beginning with a digit",
            )
    if not templates.between.points or not templates.between.paths:
        _refuse(("between",), "must not be empty for points and paths")
    # Boxes and paths have digits, so that a word without any is never one of them.
    if not templates.none or any(sign.isdigit() for sign in templates.none):
        _refuse(("none",), "must be a word without digits")


def _refuse(key: tuple[str | int, ...], message: str) -> NoReturn:
    raise ScaffoldError(message, key=key)
