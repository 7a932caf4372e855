# SPDX-License-Identifier: Apache-2.0
"""YAML into frozen dataclasses: no key unknown, twice or missing, every number a number.

Whatever is wrong is said with file, line and key.
"""

import dataclasses
import math
import types
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from dm0_ros.errors import Dm0Error, RobotError, dotted
from dm0_ros.robots.marks import Items, Section, read_yaml

__all__ = ["build", "load_yaml", "locate", "read_yaml"]

Key = tuple[str | int, ...]
_NOUNS = {float: "number", int: "whole number", str: "text", bool: "truth value (true, false)"}


def load_yaml(cls: type, path: Path, error: type[Dm0Error] = RobotError) -> Any:
    """The dataclass ``cls`` from a YAML file, as `build` makes it."""
    return build(cls, read_yaml(path, error), error)


def build(cls: type, section: Section, error: type[Dm0Error] = RobotError) -> Any:
    """Make the dataclass ``cls`` of a mapping, checking keys and types all the way down.

    Fields with a default may be left out. A class whose values contradict each other raises
    ``error`` with the key that is wrong; its file and line are added here. Sections of other
    files may have been put into ``section``: what is wrong in them is said with their own lines.
    """
    return _Builder(error).build(cls, section, _Place(section.path, section.line, ()))


def locate(section: Section, flaw: Dm0Error) -> Dm0Error:
    """The error with file and line in front, for one about a key of ``section``."""
    place = _Place(section.path, section.line, ()).follow(section, flaw.key)
    return type(flaw)(f"{place}{flaw.args[0]}")


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where something stands. In messages: ``file:line: key: ``."""

    path: Path
    line: int
    key: Key

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: " + (f"{dotted(self.key)}: " if self.key else "")

    def enter(self, content: Any, part: str | int) -> "_Place":
        """The place of one entry of ``content``, which stands here."""
        path, line = self.path, self.line
        if isinstance(content, (Section, Items)):
            path, line = content.path, content.line_of(part)
        return _Place(path, line, (*self.key, part))

    def follow(self, content: Any, key: Key) -> "_Place":
        """The place that ``key`` leads to from ``content``, which stands here."""
        place = self
        for part in key:
            place = place.enter(content, part)
            known = isinstance(part, int) or (isinstance(content, Mapping) and part in content)
            content = content[part] if known else None
        return place


class _Builder:
    """Turns the content of files into objects."""

    def __init__(self, error: type[Dm0Error]) -> None:
        self._error = error

    def build(self, cls: type, content: Any, place: _Place) -> Any:
        """The dataclass ``cls`` from a mapping."""
        self._expect_mapping(content, place)
        if isinstance(content, Section) and content.path != place.path:
            place = _Place(content.path, content.line, place.key)
        fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
        for key in content:
            if key not in fields:
                where = place.follow(content, (str(key),))
                known = ", ".join(fields)
                raise self._error(f"{where}unknown key {key}; known keys are {known}")
        missing = [n for n, field in fields.items() if _required(field) and n not in content]
        if missing:
            raise self._error(f"{place}missing key {', '.join(missing)}; add it")
        hints = get_type_hints(cls)
        values = {
            key: self._convert(hints[key], value, place.enter(content, key))
            for key, value in content.items()
        }
        try:
            return cls(**values)
        except Dm0Error as flaw:
            raise self._error(f"{place.follow(content, flaw.key)}{flaw.args[0]}") from flaw

    def _convert(self, kind: Any, value: Any, place: _Place) -> Any:
        origin = get_origin(kind)
        if origin in (Union, types.UnionType):
            return None if value is None else self._convert(get_args(kind)[0], value, place)
        if origin is tuple:
            return self._convert_tuple(get_args(kind), value, place)
        if origin in (dict, Mapping):
            self._expect_mapping(value, place)
            inner = get_args(kind)[1]
            return {
                str(key): self._convert(inner, item, place.enter(value, str(key)))
                for key, item in value.items()
            }
        if dataclasses.is_dataclass(kind):
            return self.build(kind, value, place)
        return self._convert_scalar(kind, value, place)

    def _convert_tuple(self, kinds: tuple, value: Any, place: _Place) -> tuple:
        if not isinstance(value, list):
            raise self._error(f"{place}expected a list, found {value!r}; write [ ] around it")
        if len(kinds) == 2 and kinds[1] is Ellipsis:
            kinds = (kinds[0],) * len(value)
        if len(kinds) != len(value):
            raise self._error(f"{place}expected {len(kinds)} entries, found {len(value)}")
        return tuple(
            self._convert(kind, item, place.enter(value, index))
            for index, (kind, item) in enumerate(zip(kinds, value, strict=True))
        )

    def _convert_scalar(self, kind: Any, value: Any, place: _Place) -> Any:
        if isinstance(kind, type) and issubclass(kind, Enum):
            choices = [member.value for member in kind]
            if value in choices:
                return kind(value)
            raise self._error(f"{place}{value!r} is not one of {', '.join(map(str, choices))}")
        if kind is float and type(value) in (int, float) and math.isfinite(value):
            return float(value)
        if type(value) is kind and kind is not float:
            return value
        noun = _NOUNS.get(kind, kind.__name__)
        raise self._error(f"{place}expected a {noun}, found {value!r}{_advise(kind, value)}")

    def _expect_mapping(self, content: Any, place: _Place) -> None:
        if not isinstance(content, Mapping):
            raise self._error(f"{place}expected keys with values, found {content!r}")


def _required(field: dataclasses.Field) -> bool:
    no_default = field.default is dataclasses.MISSING
    return no_default and field.default_factory is dataclasses.MISSING


def _advise(kind: Any, value: Any) -> str:
    """What to write instead, where that is known."""
    if kind is str and value is not None and not isinstance(value, (list, Mapping)):
        return "; put quotes around it"
    try:
        number = float(value)
    except (TypeError, ValueError):
        return ""
    if kind is float and isinstance(value, str) and math.isfinite(number):
        return f"; write {number!r} without quotes, an exponent needs a decimal point and a sign"
    return ""
