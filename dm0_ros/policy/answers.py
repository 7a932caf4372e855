# SPDX-License-Identifier: Apache-2.0
"""What a network is asked before it acts, and what its answer means."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import zip_longest

import numpy as np
import torch

from dm0_ros.engine import Ending, Reasoning, Text
from dm0_ros.errors import ScaffoldError
from dm0_ros.policy.discrete import DiscreteActions
from dm0_ros.policy.loading import Dm0Parts
from dm0_ros.policy.prompt import encode_cue, encode_lines, find_stop
from dm0_ros.policy.protocol import Observation
from dm0_ros.policy.reasoning import ReasoningOptions, Thought, choose_levels
from dm0_ros.scaffold.content import Rejection, Scaffold, name_paths
from dm0_ros.scaffold.grammar import load_grammar
from dm0_ros.scaffold.levels import Level

_CUTS = {
    Ending.LIMIT: "the text was cut at token {count}: it may have no more",
    Ending.TIME: "the text was cut at token {count}: its time was over",
    Ending.ABANDONED: "the text was given up at token {count}",
}


class Answers:
    """Asks for the scaffolds of one checkpoint, as far as the user wants them, and reads them."""

    def __init__(self, parts: Dm0Parts, options: ReasoningOptions, seed: int) -> None:
        """Raises `CheckpointError` where the checkpoint has no such level, and `ScaffoldError`
        where its grammar cannot be read. ``seed`` is for drawn tokens."""
        settings = parts.settings.scaffold
        self._settings, self._options = settings, options
        self._tokenizer = parts.tokenizer
        self._levels = choose_levels(options.level, parts.settings)
        self._grammar = load_grammar(settings.grammar)
        self._stop_ids = frozenset({find_stop(parts.tokenizer)})
        self._paths = name_paths(parts.arms)
        self._horizon = parts.engine.config.chunk_size
        self._seed = seed
        self._generator = torch.Generator("cpu")
        self.cue = encode_cue(parts.tokenizer)
        self.actions = DiscreteActions(
            parts.layout, parts.stats, parts.settings.normalisation, settings.action_rows
        )
        self.begin(0)

    @property
    def limit(self) -> int:
        """Tokens of a text at most."""
        return self._settings.limit

    def begin(self, number: int) -> None:
        """Draw for the ``number``-th text of a task, whatever was drawn for those before it."""
        numbers = np.random.SeedSequence((self._seed, number))
        self._generator.manual_seed(int(numbers.generate_state(1)[0]))

    def ask(self, instruction: str) -> str:
        """The instruction as the question that it was in training."""
        return self._grammar.ask(instruction, self._levels[-1])

    def reasoning(self, proceed: Callable[[], bool] | None = None) -> Reasoning:
        """How an engine is to write; a text ends with the last level that is wanted."""
        return Reasoning(
            limit=self._settings.limit,
            stop_ids=self._stop_ids,
            temperature=self._options.temperature,
            generator=self._generator,
            seconds=self._options.seconds,
            complete=self._is_complete,
            proceed=proceed,
        )

    def read(self, text: Text, observation: Observation, milliseconds: float) -> Thought:
        """What the text says about the observation, or why it says nothing that may be used."""
        written = self._tokenizer.decode(text.token_ids)
        thought = self._thought(observation, written, text.token_ids, milliseconds)
        if not text.ending.whole:
            cut = _CUTS[text.ending].format(count=len(text.token_ids))
            return replace(thought, rejection=cut)
        try:
            scaffold = self._parse(written)
            self._check_paths(scaffold)
            self._check_spelling(written, text.token_ids)
            decoded = None
            if Level.ACTION in self._levels:
                state = observation.state
                decoded = self.actions.decode(scaffold.actions, state, self._horizon)
        except ScaffoldError as flaw:
            return replace(thought, rejection=str(flaw))
        return replace(thought, scaffold=scaffold, rejection="", decoded=decoded)

    def fail(self, observation: Observation, error: Exception) -> Thought:
        """A thought that could not be had, and why."""
        thought = self._thought(observation, "", (), math.nan)
        return replace(thought, rejection=f"reasoning failed: {type(error).__name__}: {error}")

    def _parse(self, written: str) -> Scaffold:
        found = self._grammar.parse(written)
        if isinstance(found, Rejection):
            raise ScaffoldError(found.reason)
        levels = self._grammar.complete_levels(written)
        if levels != self._levels:
            last, wanted = levels[-1].value, self._levels[-1].value
            raise ScaffoldError(f"the text ends after {last}; it should end after {wanted}")
        return found

    def _check_paths(self, scaffold: Scaffold) -> None:
        """Raise `ScaffoldError` for paths that no text of this checkpoint and robot has."""
        rows = self._settings.path_rows
        for name, points in scaffold.paths.items():
            if name not in self._paths:
                raise ScaffoldError(
                    f"there is a path {name}; this robot's are {', '.join(self._paths)}"
                )
            if len(points) != len(rows):
                raise ScaffoldError(
                    f"path {name} has {len(points)} points; the path_rows are {len(rows)}"
                )

    def _check_spelling(self, written: str, token_ids: Sequence[int]) -> None:
        """Raise `ScaffoldError` for tokens that no text of the training has.

        The actions see tokens. Unknown ones leave no trace in the words, and the same words can
        be spelt in many ways, of which the action expert has seen one.
        """
        spelt = [token for line in encode_lines(self._tokenizer, written) for token in line]
        pairs = enumerate(zip_longest(token_ids, spelt, fillvalue="missing"), 1)
        wrong = next(((place, *pair) for place, pair in pairs if pair[0] != pair[1]), None)
        if wrong is not None:
            place, found, due = wrong
            raise ScaffoldError(
                f"token {place} is {found}; in the only spelling of this text that was learnt it "
                f"is {due}"
            )

    def _is_complete(self, token_ids: Sequence[int]) -> bool:
        written = self._tokenizer.decode(token_ids)
        return len(self._grammar.complete_levels(written)) >= len(self._levels)

    def _thought(
        self,
        observation: Observation,
        text: str,
        token_ids: tuple[int, ...],
        milliseconds: float,
    ) -> Thought:
        view = self._settings.view
        height, width = np.shape(observation.pictures[view])[:2]
        return Thought(
            text=text,
            token_ids=token_ids,
            scaffold=None,
            rejection="",
            instruction=observation.instruction,
            stamp=observation.stamps.get(view, observation.stamp),
            observed=observation.stamp,
            view=view,
            width=width,
            height=height,
            milliseconds=milliseconds,
        )
