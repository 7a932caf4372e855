# SPDX-License-Identifier: Apache-2.0
"""The network's answer to an observation: without words, after them, or beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch

from dm0_ros.engine import Engine, Request, Result, Text
from dm0_ros.policy.answers import Answers
from dm0_ros.policy.protocol import Observation
from dm0_ros.policy.reasoning import Memory, ReasoningOptions, Thought
from dm0_ros.policy.thinking import Thinker

Sizes = tuple[tuple[int, int], ...]
Wanted = Callable[[], bool]


class Mind(Protocol):
    """Between a policy and its network. One caller at a time."""

    def ask(self, instruction: str) -> str:
        """What the prompt says for an instruction."""

    def infer(
        self, request: Request, observation: Observation, wanted: Wanted
    ) -> tuple[Result, Thought | None]:
        """The network's answer, and the text that was written for it or that it saw.

        A text that the answer waits for is given up when the answer is no longer ``wanted``.
        """

    def note(self, observation: Observation, thought: Thought | None) -> None:
        """A plan was made of this, and is not just a trial."""

    def try_out(self, observation: Observation) -> None:
        """Whatever `infer` does not show to work."""

    def warm_up(self, sizes: Sizes, texts: Sequence[int]) -> None:
        """Capture what pictures of ``sizes`` and prompts of so many tokens need."""

    def skip(self) -> None:
        """A plan was not made that counts all the same."""

    def reset(self) -> None:
        """Forget the task."""

    def close(self) -> None:
        """End what works beside the plans."""


class Silent:
    """Acts without words."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def ask(self, instruction: str) -> str:
        return instruction

    def infer(
        self, request: Request, observation: Observation, wanted: Wanted
    ) -> tuple[Result, Thought | None]:
        return self._engine.infer([request])[0], None

    def note(self, observation: Observation, thought: Thought | None) -> None:
        pass

    def try_out(self, observation: Observation) -> None:
        pass

    def warm_up(self, sizes: Sizes, texts: Sequence[int]) -> None:
        self._engine.warm_up(sizes, texts)

    def skip(self) -> None:
        pass

    def reset(self) -> None:
        pass

    def close(self) -> None:
        pass


class Speaking(Silent):
    """Writes a text before each plan. One that is refused is not seen by the actions."""

    def __init__(
        self, engine: Engine, answers: Answers, listen: Callable[[Thought], None]
    ) -> None:
        super().__init__(engine)
        self._answers, self._listen = answers, listen
        self._plans = 0  # of the task, made or skipped

    def ask(self, instruction: str) -> str:
        return self._answers.ask(instruction)

    def infer(
        self, request: Request, observation: Observation, wanted: Wanted
    ) -> tuple[Result, Thought | None]:
        thoughts: list[Thought] = []

        def accept(_index: int, text: Text) -> bool:
            thoughts.append(self._answers.read(text, observation, math.nan))
            return thoughts[0].valid

        request = replace(request, cue_ids=self._answers.cue)
        self._answers.begin(self._plans)
        self._plans += 1
        result = self._engine.infer([request], self._answers.reasoning(wanted), accept)[0]
        return result, replace(thoughts[0], milliseconds=self._engine.timing.reasoning)

    def note(self, observation: Observation, thought: Thought | None) -> None:
        if thought is not None:
            self._listen(thought)

    def warm_up(self, sizes: Sizes, texts: Sequence[int]) -> None:
        self._engine.warm_up(sizes, lengthen(texts, self._answers, self._engine))
        warm_up_text(self._engine, self._answers, sizes, texts, actions=True)

    def skip(self) -> None:
        self._plans += 1

    def reset(self) -> None:
        self._plans = 0
        self._answers.begin(0)


class Recalling(Silent):
    """Acts on texts that are known, where live another thread wrote them."""

    def __init__(self, engine: Engine, answers: Answers, memory: Memory) -> None:
        super().__init__(engine)
        self._answers, self._memory = answers, memory

    def ask(self, instruction: str) -> str:
        return self._answers.ask(instruction)

    def infer(
        self, request: Request, observation: Observation, wanted: Wanted
    ) -> tuple[Result, Thought | None]:
        seen = self._memory.token_ids
        request = request if seen is None else show(request, self._answers.cue, seen)
        return self._engine.infer([request])[0], None

    def warm_up(self, sizes: Sizes, texts: Sequence[int]) -> None:
        self._engine.warm_up(sizes, lengthen(texts, self._answers, self._engine))


class Musing(Speaking):
    """Plans at once, with the newest text that another thread has written."""

    def __init__(
        self,
        engine: Engine,
        answers: Answers,
        request: Callable[[Observation], Request],
        options: ReasoningOptions,
    ) -> None:
        """``request`` makes what the network reads of an observation, from any thread."""
        super().__init__(engine, answers, options.listen)
        self._second = engine.fork()
        self._make_request, self._max_age = request, options.max_age
        self._started = False
        self._planned = -math.inf  # s: stamp of the newest observation that was planned for
        self._thinker = Thinker(
            self._write, answers.fail, options.listen, options.period, use_one_thread
        )

    def infer(
        self, request: Request, observation: Observation, wanted: Wanted
    ) -> tuple[Result, Thought | None]:
        with self._thinker.plan():
            thought = self._find_thought(observation)
            if thought is not None:
                request = show(request, self._answers.cue, thought.token_ids)
            return self._engine.infer([request])[0], thought

    def note(self, observation: Observation, thought: Thought | None) -> None:
        self._start()
        self._planned = observation.stamp
        self._thinker.offer(observation)

    def try_out(self, observation: Observation) -> None:
        self._write(observation, lambda: True)
        self._start()

    def warm_up(self, sizes: Sizes, texts: Sequence[int]) -> None:
        # It works in the buffers of a text that is half written, which is given up before.
        self._thinker.reset()
        with self._thinker.plan(alone=True):
            self._engine.warm_up(sizes, lengthen(texts, self._answers, self._engine))
            warm_up_text(self._second, self._answers, sizes, texts, actions=False)

    def reset(self) -> None:
        self._thinker.reset()
        self._planned = -math.inf
        super().reset()

    def close(self) -> None:
        self._thinker.close()

    def _start(self) -> None:
        if self._started:
            return
        self._started = True
        # What a thread says of the number of its threads counts for those that come later, too.
        threads = torch.get_num_threads()
        try:
            self._thinker.start()
        finally:
            torch.set_num_threads(threads)

    def _find_thought(self, observation: Observation) -> Thought | None:
        thought = self._thinker.thought
        if thought is None or thought.instruction != observation.instruction:
            return None
        fresh = 0.0 <= observation.stamp - thought.observed <= self._max_age
        return thought if fresh else None

    def _write(self, observation: Observation, proceed: Callable[[], bool]) -> Thought:
        proceed()
        request = replace(self._make_request(observation), cue_ids=self._answers.cue)
        (text,) = self._second.write([request], self._answers.reasoning(proceed))
        thought = self._answers.read(text, observation, self._second.timing.total)
        late = self._planned - observation.stamp
        if thought.valid and late > self._max_age:
            return refuse_late(thought, late, self._max_age)
        return thought


def refuse_late(thought: Thought, late: float, allowed: float) -> Thought:
    """The thought as one that came ``late`` s after its observation, and not ``allowed`` s."""
    rejection = (
        f"the text came too late: the newest observation is {late:.1f} s younger than its own, "
        f"and {allowed:g} s are allowed; raise reasoning_age, or ask for fewer levels"
    )
    return replace(thought, scaffold=None, decoded=None, rejection=rejection)


def show(request: Request, cue: np.ndarray, text: Sequence[int]) -> Request:
    """The request with a text behind its prompt, for actions to see."""
    seen = np.concatenate([request.token_ids, cue, text]).astype(np.int64)
    return replace(request, token_ids=seen)


def use_one_thread() -> None:
    """Torch in the calling thread computes alone."""
    torch.get_num_threads()  # else its first work would take everybody's number again
    torch.set_num_threads(1)


def lengthen(texts: Sequence[int], answers: Answers, engine: Engine) -> list[int]:
    """Numbers of tokens up to the longest prompt with its text, where ``texts`` are prompts'."""
    if len(texts) == 1:
        return list(texts)
    longest = max(texts) + len(answers.cue) + answers.limit
    step = engine.text_bucket
    return [count for count in range(step, longest + step, step) if fits(engine, count)]


def warm_up_text(
    engine: Engine, answers: Answers, sizes: Sizes, texts: Sequence[int], actions: bool
) -> None:
    """Capture what it takes to write behind prompts of so many tokens."""
    reasoning = replace(answers.reasoning(), limit=1, complete=None, seconds=math.inf)
    counts = [count + len(answers.cue) for count in texts]
    counts = [count for count in counts if fits(engine, count + reasoning.limit)]
    engine.warm_up(sizes, counts, reasoning, actions)


def fits(engine: Engine, count: int) -> bool:
    """Whether an engine has room for so many tokens."""
    return count <= engine.options.text_limit
