# SPDX-License-Identifier: Apache-2.0
"""Text into a scaffold. Any text gives a scaffold or a reason, in time that its length bounds.

One pass from left to right: what stands at the cursor is the template's next sign or a number, or
the text is refused there. Nothing is tried a second time.
"""

from dm0_ros.errors import ScaffoldError
from dm0_ros.scaffold.content import (
    EDGES,
    PATH_NAMES,
    Box,
    Point,
    Rejection,
    Scaffold,
)
from dm0_ros.scaffold.levels import Level
from dm0_ros.scaffold.subtasks import find_flaw
from dm0_ros.scaffold.templates import SLOT, Templates

LONGEST_TEXT = 32_768
"""Characters that are looked at; more are refused unread."""
_DIGITS = frozenset("0123456789")
_MOST_DIGITS = 9
_SHOWN = 20


def parse(text: str, templates: Templates) -> Scaffold | Rejection:
    """What a text says, or why it says nothing. Raises nothing, whatever the text."""
    try:
        return _read(text, templates)
    except (_Flaw, ScaffoldError) as flaw:
        return Rejection(str(flaw))


class _Flaw(Exception):
    """What is wrong, and where."""


def _read(text: str, templates: Templates) -> Scaffold:
    if len(text) > LONGEST_TEXT:
        raise _Flaw(f"the text has {len(text)} characters; at most {LONGEST_TEXT} are read")
    if not text:
        raise _Flaw("the text is empty")
    *lines, rest = text.split("\n")
    if len(lines) > len(Level) or (rest and len(lines) == len(Level)):
        raise _Flaw(f"line {len(Level) + 1}: nothing may follow the {len(Level)} levels")
    read = {}
    for level, line in zip(Level, lines, strict=False):
        read[level] = _READERS[level](_Line(line, level, templates))
    if rest:
        raise _Line(rest, list(Level)[len(lines)], templates).cut_off()
    return Scaffold(
        read[Level.SUBTASK],
        read.get(Level.BOX),
        read.get(Level.TRAJECTORY, {}),
        read.get(Level.ACTION, ()),
    )


class _Line:
    """The line of one level and how far it has been read."""

    def __init__(self, text: str, level: Level, templates: Templates) -> None:
        self.text, self.level, self.templates = text, level, templates
        self.place = 0
        self._open()

    def _open(self) -> None:
        label = self.templates.labels.of(self.level)
        if not label or not self.at(label):
            for other in Level:
                openings = self.templates.openings(other)
                if other is not self.level and openings and self.text.startswith(openings):
                    early = other.count > self.level.count
                    what = "comes too early" if early else "stands a second time"
                    raise self.flaw(f"{other.value} {what}; {self.level.value} is due")
        self.expect(label, self.level.value)

    def flaw(self, message: str) -> _Flaw:
        where = f"line {self.level.count} ({self.level.value}), character {self.place + 1}"
        return _Flaw(f"{where}: {message}")

    def cut_off(self) -> _Flaw:
        self.place = len(self.text)
        return self.flaw("the text ends inside the line; a level ends with a line break")

    def shown(self) -> str:
        """What stands at the cursor, short and without signs that a terminal obeys."""
        found = self.text[self.place : self.place + _SHOWN]
        return ascii(found) if found else "the end of the line"

    @property
    def ended(self) -> bool:
        return self.place == len(self.text)

    def at(self, literal: str) -> bool:
        return self.text.startswith(literal, self.place)

    def take(self, literal: str) -> bool:
        found = self.at(literal)
        self.place += len(literal) * found
        return found

    def take_rest(self, literal: str) -> bool:
        """As `take`, but only where the line ends with it."""
        return len(self.text) - self.place == len(literal) and self.take(literal)

    def expect(self, literal: str, what: str) -> None:
        if not self.take(literal):
            raise self.flaw(f"{what}: expected {literal!r}, found {self.shown()}")

    def finish(self) -> None:
        if not self.ended:
            raise self.flaw(f"nothing may follow here, found {self.shown()}")

    def says_none(self) -> bool:
        """Whether the rest of the line is the word for nothing; if so it has been read."""
        return self.take_rest(self.templates.none)

    def number(self, what: str, digits: int) -> int:
        start = self.place
        while self.text[self.place : self.place + 1] in _DIGITS:
            self.place += 1
            if self.place - start > _MOST_DIGITS:
                raise self.flaw(f"{what} has more than {_MOST_DIGITS} digits")
        written = self.text[start : self.place]
        if not written:
            raise self.flaw(f"{what}: expected a number from 0 on, found {self.shown()}")
        value = int(written)
        if written != f"{value:0{digits}d}":
            self.place = start
            raise self.flaw(f"{what} is written {written}; write {value:0{digits}d}")
        return value

    def pattern(self, pattern: str, names: tuple[str, ...], digits: int) -> tuple[int, ...]:
        """The numbers of a pattern, whose ``names`` are for whoever reads what is wrong."""
        first, *others = pattern.split(SLOT)
        self.expect(first, names[0])
        values = []
        for name, literal in zip(names, others, strict=True):
            values.append(self.number(name, digits))
            self.expect(literal, f"after {name}")
        return tuple(values)


def _read_subtask(line: _Line) -> str:
    subtask = line.text[line.place :]
    if flaw := find_flaw(subtask, line.templates):
        raise line.flaw(flaw)
    return subtask


def _read_box(line: _Line) -> Box | None:
    if line.says_none():
        return None
    box = line.pattern(line.templates.box, EDGES, line.templates.digits)
    line.finish()
    return box


def _read_paths(line: _Line) -> dict[str, tuple[Point, ...]]:
    paths: dict[str, tuple[Point, ...]] = {}
    if line.says_none():
        return paths
    while True:
        name = _read_name(line, paths)
        paths[name] = _read_points(line, name)
        if line.ended:
            return paths
        line.expect(line.templates.between.paths, f"after path {name}")


def _read_name(line: _Line, earlier: dict) -> str:
    for name in PATH_NAMES:
        if line.at(line.templates.paths.of(name)):
            break
    else:
        known = ", ".join(PATH_NAMES)
        raise line.flaw(f"unknown path {line.shown()}; paths are {known}")
    if name in earlier:
        raise line.flaw(f"path {name} stands a second time")
    if earlier and PATH_NAMES.index(name) < PATH_NAMES.index(list(earlier)[-1]):
        raise line.flaw(f"path {name} stands after {list(earlier)[-1]}; it belongs before it")
    line.take(line.templates.paths.of(name))
    return name


def _read_points(line: _Line, name: str) -> tuple[Point, ...]:
    between, points = line.templates.between, []
    following = tuple(between.paths + line.templates.paths.of(other) for other in PATH_NAMES)
    while True:
        number = len(points) + 1
        names = tuple(f"{axis} of point {number} of path {name}" for axis in "xy")
        points.append(line.pattern(line.templates.point, names, line.templates.digits))
        if line.ended or line.text.startswith(following, line.place):
            return tuple(points)
        line.expect(between.points, f"after point {number} of path {name}")


def _read_actions(line: _Line) -> tuple[int, ...]:
    opening, closing = line.templates.actions.split(SLOT)
    line.expect(opening, "actions")
    actions: list[int] = []
    while True:
        name = f"action {len(actions) + 1}"
        actions += line.pattern(line.templates.action, (name,), 1)
        if line.take_rest(closing):
            return tuple(actions)
        line.expect(line.templates.between.actions, f"after {name}")


_READERS = {
    Level.SUBTASK: _read_subtask,
    Level.BOX: _read_box,
    Level.TRAJECTORY: _read_paths,
    Level.ACTION: _read_actions,
}
