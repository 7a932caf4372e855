# SPDX-License-Identifier: Apache-2.0
"""Whether a policy that writes a text before every plan writes again what it wrote live."""

from __future__ import annotations

from collections.abc import Iterator

from dm0_ros.policy.reasoning import Thought
from dm0_ros.replay.walk import Step


class TextCheck:
    """Compares the tokens that actions saw. Nothing else says so where an observation is the same
    and its text is not, as when one of the two was cut at its time."""

    def __init__(self) -> None:
        self._compared = self._others = 0
        self._first = ""

    def add(self, step: Step) -> None:
        """One more; of a plan without a text of its own, or without a trace, nothing is known."""
        thought = None if step.plan is None else step.plan.thought
        trace = None if step.recorded is None else step.recorded.trace
        if thought is None or trace is None:
            return
        self._compared += 1
        now = tuple(thought.token_ids) if thought.valid else None
        if now == trace.text:
            return
        self._others += 1
        self._first = self._first or (
            f"plan {step.recorded.sequence}, live {_count(trace.text)}, now {_describe(thought)}"
        )

    def tell(self) -> Iterator[str]:
        """A sentence, where texts are not what they were."""
        if self._others:
            yield (
                f"{self._others} of {self._compared} texts are not those of the live policy; the "
                f"first: {self._first}"
            )


def _count(tokens: tuple[int, ...] | None) -> str:
    return "none was seen" if tokens is None else f"one of {len(tokens)} tokens"


def _describe(thought: Thought) -> str:
    return _count(thought.token_ids) if thought.valid else f"it is refused: {thought.rejection}"
