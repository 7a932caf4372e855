# SPDX-License-Identifier: Apache-2.0
"""How text is written: up to which token, how long, and how each next one is chosen."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import torch
import torch.nn.functional as F
from torch import Tensor

from dm0_ros.errors import Dm0Error

CHOICES = 50
"""Likeliest tokens that are drawn from; each rarer one is worth too little to be drawn by chance.
It is also what transformers takes where nobody says otherwise."""


class Speech(Enum):
    """How a next token is chosen."""

    NONE = "none"  # there is none
    LIKELIEST = "likeliest"
    DRAWN = "drawn"


class Ending(str, Enum):
    """Why a text goes no further."""

    STOPPED = "stopped"  # the network gave a stop token
    COMPLETE = "complete"  # all that was asked for is there
    LIMIT = "limit"  # it has as many tokens as it may have
    TIME = "time"  # its time was over
    ABANDONED = "abandoned"  # whoever asked for it wants it no more

    @property
    def whole(self) -> bool:
        """Whether the text came to its own end, and was not cut."""
        return self in (Ending.STOPPED, Ending.COMPLETE)


@dataclass(frozen=True)
class Text:
    """What was written about one observation; the stop token is no part of it."""

    token_ids: tuple[int, ...]
    ending: Ending


@dataclass(frozen=True)
class Reasoning:
    """How to write. Raises `Dm0Error` where a number makes no sense.

    A text that is cut by `limit` or `seconds` keeps what was written until then. `complete` is
    asked after each token, and gets all of the text. `proceed` is asked before each piece of
    work; it may wait, which does not count as the text's time, and False abandons the text.
    """

    limit: int  # tokens at most
    stop_ids: frozenset[int]  # any of these ends it
    temperature: float = 0.0  # of the softmax that tokens are drawn from; 0: the likeliest
    generator: torch.Generator | None = None  # on the CPU, to draw with
    seconds: float = math.inf
    complete: Callable[[Sequence[int]], bool] | None = None
    proceed: Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise Dm0Error(f"the limit of a text is {self.limit} tokens; it cannot be negative")
        if not 0 <= self.temperature < math.inf:
            raise Dm0Error(f"temperature is {self.temperature}; write 0 for the likeliest text")
        if self.temperature and self.generator is None:
            raise Dm0Error("tokens are drawn at a temperature: give a seeded generator")
        if not self.seconds >= 0:
            raise Dm0Error(f"the time for a text is {self.seconds} s; it cannot be negative")


class Writer:
    """Keeps the texts of B observations while they grow, and knows when each has ended."""

    def __init__(
        self,
        reasoning: Reasoning,
        count: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._reasoning = reasoning
        self._clock = clock
        self._spent = 0.0  # s
        self._since: float | None = None
        self._written: list[list[int]] = [[] for _ in range(count)]
        self._endings: list[Ending | None] = [None] * count

    def goes_on(self) -> bool:
        """Whether another token is wanted. Time counts from the first question on."""
        asked = self._reasoning
        if None not in self._endings:
            return False
        now = self._clock()
        self._spent += 0.0 if self._since is None else now - self._since
        if asked.proceed is not None and not asked.proceed():
            self._end(Ending.ABANDONED)
        elif self._spent >= asked.seconds:
            self._end(Ending.TIME)
        self._since = self._clock()
        return None in self._endings

    def wait(self) -> None:
        """For whoever wants the work to pause before its next piece."""
        if self._reasoning.proceed is not None:
            self._reasoning.proceed()

    def take(self, tokens: Sequence[int]) -> list[bool]:
        """Add a token to each text that has not ended; which of them are now longer."""
        asked, longer = self._reasoning, []
        for index, token in enumerate(tokens):
            written, goes_on = self._written[index], self._endings[index] is None
            if goes_on and token in asked.stop_ids:
                self._endings[index] = Ending.STOPPED
            elif goes_on and len(written) >= asked.limit:
                self._endings[index] = Ending.LIMIT
            elif goes_on:
                written.append(token)
                if asked.complete is not None and asked.complete(written):
                    self._endings[index] = Ending.COMPLETE
            longer.append(goes_on and self._endings[index] in (None, Ending.COMPLETE))
        return longer

    @property
    def speech(self) -> Speech:
        """How its tokens are chosen."""
        return Speech.DRAWN if self._reasoning.temperature else Speech.LIKELIEST

    def draw(self) -> tuple[list[float] | None, float]:
        """A number in [0, 1) for each text, to draw its next token with, and the temperature.

        None where the likeliest is taken.
        """
        asked = self._reasoning
        if self.speech is not Speech.DRAWN:
            return None, 0.0
        chances = torch.rand(len(self._written), generator=asked.generator).tolist()
        return chances, asked.temperature

    def texts(self) -> list[Text]:
        """All texts, when none goes on."""
        return [
            Text(tuple(written), ending)
            for written, ending in zip(self._written, self._endings, strict=True)
        ]

    def _end(self, ending: Ending) -> None:
        self._endings = [ending if known is None else known for known in self._endings]


def draw_token(scores: Tensor, chance: Tensor, temperature: Tensor) -> Tensor:
    """Places (B,) in scores (B, n), best first: each as likely as the softmax has it.

    ``chance`` (B,) in [0, 1) decides, so that the same chance draws the same token everywhere.
    """
    passed = F.softmax(scores / temperature[:, None], -1).cumsum(-1)
    # The last sum may be a rounding below 1, and a chance above it.
    return (passed <= chance[:, None]).sum(-1).clamp(max=scores.shape[1] - 1)
