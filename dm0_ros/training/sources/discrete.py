# SPDX-License-Identifier: Apache-2.0
"""A sample's own rows as words, for a language model to learn what the flow may not teach it.

So DM0 was trained: the action expert's gradient stays out of the language model, which foretells
discrete actions beside the flow (facts: dm0_model.md, D.3 and D.4).
"""

from dataclasses import dataclass

import numpy as np

from dm0_ros.scaffold.decoded import are_rows, encode_rows
from dm0_ros.scaffold.grammar import Grammar, load_grammar
from dm0_ros.training.sources.sample import SourceError


@dataclass(frozen=True)
class DiscreteSettings:
    """Which rows of a chunk are told in words, and in whose."""

    grammar: str  # file stem in config/scaffold/
    rows: tuple[int, ...]  # of the chunk, counted from 0

    def require_rows(self, count: int) -> None:
        """Raises `SourceError` where they are no rising rows of a chunk of ``count``."""
        rows = list(self.rows)
        if not are_rows(rows, count):
            message = f"are {rows}; name some, rising, from 0 to {count - 1}, the chunk's last"
            raise SourceError(message, key=("rows",))


@dataclass(frozen=True)
class ActionWriter:
    """Writes rows as the line of a scaffold that is the actions'."""

    grammar: Grammar
    rows: tuple[int, ...]

    @classmethod
    def load(cls, settings: DiscreteSettings) -> "ActionWriter":
        """Raises `ResourceError` where there is no such grammar."""
        return cls(load_grammar(settings.grammar), settings.rows)

    def write(self, normalised: np.ndarray) -> str:
        """The line for normalised rows (H, C), without columns that are nothing but padding."""
        return self.grammar.write_actions(encode_rows(normalised, self.rows))
