# SPDX-License-Identifier: Apache-2.0
"""The fast network: camera frames and token ids on the host in, actions on the host out.

One call is three captured graphs, vision, prefix and flow, on buffers that never move. Their
oracle is `DM0.sample_actions`, which computes the same from the same weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from dm0_ros.engine.frames import FramePreparer
from dm0_ros.engine.graphs import Action, Capture, CudaCapture, Graphs, run_directly
from dm0_ros.engine.intake import Sizes
from dm0_ros.engine.options import GRAPH_BUCKET, EngineOptions
from dm0_ros.engine.request import Request, Result, check_requests
from dm0_ros.engine.stages import Stages
from dm0_ros.engine.timing import Stopwatch, Timing
from dm0_ros.engine.workspace import Workspace
from dm0_ros.model import DM0
from dm0_ros.model.reasoning import Reasoning, Speech, Text, Writer

Accept = Callable[[int, Text], bool]
"""Of a request's place in the batch and its text: whether the actions may see it."""

FIRST, LAST = -1, 0
"""Priorities of CUDA streams; the lower number comes first."""


class Engine:
    """Runs one network on one device. Not thread-safe: one caller at a time."""

    def __init__(
        self,
        model: DM0,
        options: EngineOptions,
        preparer: FramePreparer,
        capture: Capture | None = None,
    ) -> None:
        """Rearranges the weights of `model`, which may be dropped afterwards.

        `capture` says how repeated work is shortened; None takes CUDA graphs where they are.
        Raises `Dm0Error` where an option asks for what this machine does not have.
        """
        self.config = model.config
        self.options = options
        self.device = model.device
        self.timing: Timing | None = None
        self.text_bucket = options.text_bucket or (
            GRAPH_BUCKET if self.device.type == "cuda" else 1
        )
        self._stages = Stages(model, options, preparer)
        self._spaces: dict[tuple[int, int], Workspace] = {}
        self._stream: torch.cuda.Stream | None = None  # None: the caller's
        if capture is None:
            graphs = options.graphs and self.device.type == "cuda"
            capture = CudaCapture(self.device) if graphs else run_directly
        self._graphs = Graphs(capture)

    def fork(self) -> Engine:
        """An engine over the same weights, with buffers of its own, for one more thread.

        On a GPU its work comes second to that of this engine. Fork before the first call, and
        warm up all before the threads start: a capture bears no other work beside it.
        """
        forked = copy.copy(self)
        forked.timing = None
        forked._spaces = {}
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # what the weights were made with has to be done
            self._run_on_stream(FIRST)
            forked._run_on_stream(LAST)
        else:
            forked._graphs = Graphs(self._graphs.capture)
        return forked

    def infer(
        self,
        requests: Sequence[Request],
        reasoning: Reasoning | None = None,
        accept: Accept = lambda _index, _text: True,
    ) -> list[Result]:
        """Answers to a batch of observations, one a request, in order.

        With `reasoning`, text is written first. The actions see it, and its cue, where `accept`
        says so; else they see what the request alone gives. The first call of each size chooses,
        compiles and captures; see `warm_up`. Raises `ObservationError` where a request does not
        fit.
        """
        return self._call(requests, reasoning, partial(self._answer, accept=accept))

    def write(self, requests: Sequence[Request], reasoning: Reasoning) -> list[Text]:
        """Text alone, without actions; the requests' noise is of no consequence."""
        return self._call(requests, reasoning, self._write)

    def warm_up(
        self,
        sizes: Sizes,
        texts: Sequence[int],
        reasoning: Reasoning | None = None,
        actions: bool = True,
    ) -> None:
        """Prepares for one robot with frames of `sizes` and texts of so many tokens.

        All is then ready whichever of its views change from one call to the next. Without
        `actions` it is ready to `write` as `reasoning` says, and no more.
        """
        random = np.random.default_rng(0)
        rows = (self.config.chunk_size, self.config.action_dim)
        frames = [random.integers(0, 255, (*size, 3), np.uint8) for size in sizes]
        run = self.infer if actions else self.write
        for tokens in texts:
            request = Request(
                frames=tuple(frames),
                token_ids=np.zeros(tokens, np.int64),
                noise=random.standard_normal(rows, np.float32),
                progress=0.0 if self.config.progress else None,
            )
            run([request], reasoning)
            for kept in range(len(sizes) + 1 if self.options.reuse else 0):
                changed = [255 - frame for frame in request.frames[kept:]]
                request = replace(request, frames=(*request.frames[:kept], *changed))
                run([request], reasoning)
        self.forget()

    def forget(self) -> None:
        """Reuses nothing of earlier calls: the next answers are those of a new engine."""
        for space in self._spaces.values():
            space.intake.forget()

    def describe(self) -> dict:
        """What was chosen for this machine, and how many graphs were captured."""
        return {**self._stages.describe(), "graphs": len(self._graphs)}

    @torch.no_grad()
    def _call(
        self, requests: Sequence[Request], reasoning: Reasoning | None, work: Callable
    ) -> list:
        room = self.options.text_limit - (reasoning.limit if reasoning else 0)
        check_requests(requests, room, self.config)
        with torch.cuda.stream(self._stream):
            space = self._space(len(requests), len(requests[0].frames))
            try:
                return work(requests, reasoning, space)
            except BaseException:
                # Frames that came over but were not read must not pass for known ones.
                space.intake.forget()
                raise

    def _answer(
        self,
        requests: Sequence[Request],
        reasoning: Reasoning | None,
        space: Workspace,
        accept: Accept,
    ) -> list[Result]:
        batch, views = len(requests), len(requests[0].frames)
        watch = Stopwatch(self.device)
        writer = None if reasoning is None else Writer(reasoning, batch)
        self._read(requests, writer, space, watch)
        lengths = [len(request.token_ids) for request in requests]
        texts: list[Text | None] = [None] * batch
        if writer is not None:
            texts = self._speak(space, writer)
            for index, (request, text) in enumerate(zip(requests, texts, strict=True)):
                if accept(index, text):
                    lengths[index] += len(request.cue_ids) + len(text.token_ids)
            space.show(lengths)
        watch.mark()
        begin = space.seen.shape[1] + self._bucket(max(lengths))
        padded = batch > 1 or self.text_bucket > 1
        self._graphs.run(("flow", batch, views, begin), lambda: self._flow(space, begin, padded))
        watch.mark()
        space.answer.download()
        watch.mark()
        self.timing = Timing(*watch.read())
        if reasoning is None:
            self.timing = replace(self.timing, reasoning=0.0)
        if not np.isfinite(space.answer.host).all():
            space.clear()
        return space.results(texts, self.config.progress)

    def _write(
        self, requests: Sequence[Request], reasoning: Reasoning, space: Workspace
    ) -> list[Text]:
        watch = Stopwatch(self.device)
        writer = Writer(reasoning, len(requests))
        self._read(requests, writer, space, watch)
        texts = self._speak(space, writer)
        watch.mark()
        self.timing = Timing(*watch.read(), flow=0.0, download=0.0)
        return texts

    def _read(
        self,
        requests: Sequence[Request],
        writer: Writer | None,
        space: Workspace,
        watch: Stopwatch,
    ) -> None:
        """Pictures and text into the cache; marks upload, vision and prefix."""
        batch, views = len(requests), len(requests[0].frames)
        speech = Speech.NONE if writer is None else writer.speech
        watch.mark()
        sizes, kept = space.intake.take([f for request in requests for f in request.frames])
        space.fill(requests, speech)
        watch.mark()
        if kept < batch * views:
            self._graphs.run(
                ("vision", batch, sizes, kept), lambda: self._vision(space, sizes, kept)
            )
        watch.mark()
        cues = 0 if writer is None else max(len(request.cue_ids) for request in requests)
        bucket = self._bucket(max(len(r.token_ids) for r in requests) + cues)
        start = kept * self.config.vision.tokens
        if writer is not None:
            writer.wait()
            space.draw(*writer.draw())
        self._graphs.run(
            ("prefix", batch, views, start, bucket, speech),
            lambda: self._prefix(space, start, bucket, speech),
        )
        watch.mark()

    def _speak(self, space: Workspace, writer: Writer) -> list[Text]:
        """The text of each observation, read into the cache as it grows."""
        speech = writer.speech
        key = "token", *space.seen.shape[:2], speech
        while writer.goes_on():
            longer = writer.take(space.next.tolist())
            if any(longer):
                space.talking.host[:] = longer
                space.talking.upload()
                space.token.copy_(space.next)
                space.draw(*writer.draw())
                self._graphs.run(key, lambda: self._token(space, speech))
                space.lengths.add_(space.talking.device)
        return writer.texts()

    def _vision(self, space: Workspace, sizes: tuple, kept: int) -> Action:
        fresh = space.intake.fresh(sizes, kept)
        count = self.config.vision.tokens
        place = space.seen.view(-1, count, space.seen.shape[-1])[kept:]
        encode = self._stages.vision(len(place))

        def action() -> None:
            place.copy_(encode(fresh))

        return action

    def _prefix(self, space: Workspace, start: int, bucket: int, speech: Speech) -> Action:
        read = self._stages.prefix(space, start, bucket, speech)
        ids = space.text.device[:, 1 : 1 + bucket]

        def action() -> None:
            following = read(ids)
            if following is not None:
                space.next.copy_(following)

        return action

    def _token(self, space: Workspace, speech: Speech) -> Action:
        read = self._stages.token(space, speech)

        def action() -> None:
            space.next.copy_(read())

        return action

    def _flow(self, space: Workspace, begin: int, padded: bool) -> Action:
        integrate = self._stages.flow(space, begin, padded)

        def action() -> None:
            space.put(*integrate())

        return action

    def _run_on_stream(self, priority: int) -> None:
        self._stream = torch.cuda.Stream(self.device, priority)
        graphs = self.options.graphs
        self._graphs = Graphs(CudaCapture(self.device, priority) if graphs else run_directly)

    def _bucket(self, tokens: int) -> int:
        step = self.text_bucket
        return -(-tokens // step) * step

    def _space(self, batch: int, views: int) -> Workspace:
        key = batch, views
        if key not in self._spaces:
            self._spaces[key] = Workspace.allocate(
                self.config, self.options, batch, views, self._stages.dtype, self.device
            )
        return self._spaces[key]
