# SPDX-License-Identifier: Apache-2.0
"""The text that a scaffold is: one line a level, in their order, each ended by a line break.

Written and read by the same templates, strictly: what `Grammar.parse` accepts is, sign for sign,
what `Grammar.write` makes of it. See docs/scaffold.md.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dm0_ros.errors import ScaffoldError
from dm0_ros.resources import find_resource
from dm0_ros.robots.parsing import load_yaml
from dm0_ros.scaffold.content import PATH_NAMES, Point, Rejection, Scaffold
from dm0_ros.scaffold.levels import Level, check_levels
from dm0_ros.scaffold.parser import LONGEST_TEXT, parse
from dm0_ros.scaffold.subtasks import find_flaw
from dm0_ros.scaffold.templates import INSTRUCTION, SLOT, Templates

__all__ = ["Grammar", "Rejection", "Scaffold", "load_grammar", "read_grammar"]


@dataclass(frozen=True)
class Grammar:
    """A way to write scaffolds. ``name`` is that of its file in config/scaffold/."""

    name: str
    templates: Templates

    def write(self, scaffold: Scaffold, levels: Iterable[Level | str]) -> str:
        """The text of the first n levels of a scaffold; what it says beyond them is left out.

        A box that is None and paths that are empty are written as the templates' word for none.
        Raises `ScaffoldError` where ``levels`` are not the first few, or there is none; where
        words are no subtask that could be read back; and where actions are asked but absent.
        """
        levels = check_levels(levels)
        if not levels:
            raise ScaffoldError("no level to write; name at least subtask")
        text = "".join(
            self._write_line(level, self._write_level(scaffold, level)) for level in levels
        )
        if len(text) > LONGEST_TEXT:
            raise ScaffoldError(
                f"the scaffold takes {len(text)} characters; at most {LONGEST_TEXT} are read: "
                "give fewer actions"
            )
        return text

    def write_actions(self, actions: tuple[int, ...]) -> str:
        """The line of level action alone, of bins; raises `ScaffoldError` without any."""
        return self._write_line(Level.ACTION, self._write_actions(actions))

    def parse(self, text: str) -> Scaffold | Rejection:
        """What a text says, or why it is refused. Raises nothing, whatever the text."""
        return parse(text, self.templates)

    def complete_levels(self, text: str) -> tuple[Level, ...]:
        """The levels whose lines a growing text has ended, right or wrong."""
        return tuple(Level)[: text.count("\n")]

    def truncate(self, text: str, level: Level) -> str:
        """The text up to the end of a level's line; all of it where it does not go so far."""
        end = -1
        for _ in range(Level(level).count):
            end = text.find("\n", end + 1)
            if end < 0:
                return text
        return text[: end + 1]

    def ask(self, instruction: str, level: Level, wording: int = 0) -> str:
        """A question for a scaffold up to ``level`` of what ``instruction`` wants done.

        Wordings count from 0 and start anew after the last one.
        """
        wordings = self.templates.questions.of(Level(level))
        return wordings[wording % len(wordings)].replace(INSTRUCTION, instruction)

    def _write_line(self, level: Level, content: str) -> str:
        return f"{self.templates.labels.of(level)}{content}\n"

    def _write_level(self, scaffold: Scaffold, level: Level) -> str:
        if level is Level.SUBTASK:
            return self._write_subtask(scaffold.subtask)
        if level is Level.BOX:
            box = scaffold.box
            return self.templates.none if box is None else self._fill(self.templates.box, box)
        if level is Level.TRAJECTORY:
            return self._write_paths(scaffold.paths)
        return self._write_actions(scaffold.actions)

    def _write_subtask(self, subtask: str) -> str:
        if flaw := find_flaw(subtask, self.templates):
            raise ScaffoldError(f"{flaw}: {subtask!a}")
        return subtask

    def _write_paths(self, paths: dict[str, tuple[Point, ...]]) -> str:
        between = self.templates.between
        written = (
            self.templates.paths.of(name)
            + between.points.join(self._fill(self.templates.point, p) for p in paths[name])
            for name in PATH_NAMES
            if name in paths
        )
        return between.paths.join(written) or self.templates.none

    def _write_actions(self, actions: tuple[int, ...]) -> str:
        if not actions:
            raise ScaffoldError("the scaffold has no actions to write; leave out level action")
        tokens = (self.templates.action.replace(SLOT, str(value)) for value in actions)
        return self.templates.actions.replace(SLOT, self.templates.between.actions.join(tokens))

    def _fill(self, pattern: str, places: Iterable[int]) -> str:
        for place in places:
            pattern = pattern.replace(SLOT, f"{place:0{self.templates.digits}d}", 1)
        return pattern


def load_grammar(name: str) -> Grammar:
    """The grammar of config/scaffold/<name>.yaml.

    Raises `ResourceError` where there is no such file, and `ScaffoldError` with file, line and key
    where it is wrong, or where its texts cannot be read back.
    """
    return read_grammar(find_resource("config", f"scaffold/{name}.yaml"))


def read_grammar(path: Path) -> Grammar:
    """The grammar of a templates file of your own; raises `ScaffoldError` as `load_grammar`."""
    grammar = Grammar(path.stem, load_yaml(Templates, path, ScaffoldError))
    for sample in _SAMPLES:
        text = grammar.write(sample, Level)
        found = grammar.parse(text)
        if found != sample:
            reason = found.reason if isinstance(found, Rejection) else "it reads as something else"
            raise ScaffoldError(
                f"{path}: what it writes cannot be read back. {text!r}: {reason}; "
                "make labels and separators differ from what they separate"
            )
    return grammar


_POINTS = ((0, 1000), (1, 22), (333, 4))
_SAMPLES = (
    Scaffold("go on", None, {}, (0,)),
    Scaffold("go on", (0, 1, 22, 1000), {"main": _POINTS[:1]}, (0, 254, 7)),
    Scaffold("go on", (1, 1, 1, 1), dict.fromkeys(PATH_NAMES, _POINTS), (25, 4, 100)),
    Scaffold("go on", (9, 9, 10, 10), {"left": _POINTS, "right": _POINTS[1:]}, (1, 1)),
)
