# SPDX-License-Identifier: Apache-2.0
"""Many ways to put the same request, combined from parts that a YAML lists.

A wording is an order of parts, and one phrase for each part. A part whose phrases need a field
that a sample has not is left out of the order.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from string import Formatter

import numpy as np

from dm0_ros.errors import Dm0Error
from dm0_ros.resources import find_config
from dm0_ros.robots.parsing import load_yaml

INSTRUCTION = "instruction"


class WordingError(Dm0Error):
    """A file of wordings is missing, or its parts do not fit together."""


@dataclass(frozen=True)
class Wordings:
    """How a request may be put. Raises `WordingError` where the parts contradict each other."""

    parts: dict[str, tuple[str, ...]]  # phrases with {fields}, by part; an empty one says nothing
    orders: tuple[tuple[str, ...], ...]  # of parts
    plain: float  # share of requests that are the instruction alone, as a robot is told it

    def __post_init__(self) -> None:
        if not 0.0 <= self.plain <= 1.0:
            raise WordingError(f"is {self.plain:g}; it must be from 0 to 1", key=("plain",))
        if not self.orders:
            raise WordingError("is empty; list at least one", key=("orders",))
        for name, phrases in self.parts.items():
            if not phrases or len({_fields(phrase) for phrase in phrases if phrase}) > 1:
                message = "must list phrases that need the same fields, or are empty"
                raise WordingError(message, key=("parts", name))
        for index, order in enumerate(self.orders):
            unknown = [part for part in order if part not in self.parts]
            if unknown or len(set(order)) != len(order):
                message = f"must name parts once each; they are {', '.join(self.parts)}"
                raise WordingError(message, key=("orders", index))
            if not any(INSTRUCTION in self._needs(part) for part in order):
                message = "has no part with {instruction}; add one"
                raise WordingError(message, key=("orders", index))

    def count(self, fields: Collection[str]) -> int:
        """Number of wordings where these fields are known; two may read the same."""
        return sum(
            math.prod(len(self.parts[part]) for part in order) for order in self._orders(fields)
        )

    def choose(self, fields: Mapping[str, str], generator: np.random.Generator) -> str:
        """A request with the ``fields`` that are known, ``instruction`` among them."""
        orders = self._orders(fields)
        if generator.random() < self.plain:
            return fields[INSTRUCTION]
        order = orders[generator.integers(len(orders))]
        phrases = [self.parts[part][generator.integers(len(self.parts[part]))] for part in order]
        return _join(phrases, fields)

    def list_all(self, fields: Mapping[str, str]) -> Iterator[str]:
        """Every wording with the fields that are known."""
        for order in self._orders(fields):
            for phrases in product(*(self.parts[part] for part in order)):
                yield _join(phrases, fields)

    def _orders(self, fields: Collection[str]) -> list[tuple[str, ...]]:
        """Orders without the parts that cannot be said, each once."""
        if INSTRUCTION not in fields:
            raise WordingError("a request needs an instruction; give it")
        known = set(fields)
        kept = [tuple(p for p in order if self._needs(p) <= known) for order in self.orders]
        return list(dict.fromkeys(kept))

    def _needs(self, part: str) -> set[str]:
        return {field for phrase in self.parts[part] for field in _fields(phrase)}


def load_wordings(name_or_path: str | Path) -> Wordings:
    """``config/training/wordings/<name>.yaml``, or the YAML at that path.

    Raises `WordingError` with file, line and key.
    """
    return load_yaml(Wordings, find_config(name_or_path, "training/wordings"), WordingError)


def _fields(phrase: str) -> frozenset[str]:
    try:
        return frozenset(name for _, name, _, _ in Formatter().parse(phrase) if name is not None)
    except ValueError as cause:
        raise WordingError(f"'{phrase}' has a brace without its other ({cause})") from cause


def _join(phrases: list[str], fields: Mapping[str, str]) -> str:
    # a phrase brings its own full stop
    values = fields | {INSTRUCTION: fields[INSTRUCTION].strip().rstrip(".")}
    return " ".join(phrase.format(**values) for phrase in phrases if phrase)
