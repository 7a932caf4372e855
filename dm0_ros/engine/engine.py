# SPDX-License-Identifier: Apache-2.0
"""The fast network: camera frames and token ids on the host in, actions on the host out.

One call is three captured graphs, vision, prefix and flow, on buffers that never move. Their
oracle is `DM0.sample_actions`, which computes the same from the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from dm0_ros.engine.frames import FramePreparer
from dm0_ros.engine.graphs import Action, Capture, CudaCapture, Graphs, run_directly
from dm0_ros.engine.intake import Sizes
from dm0_ros.engine.options import GRAPH_BUCKET, EngineOptions
from dm0_ros.engine.request import Reasoning, Request, Result, check_requests
from dm0_ros.engine.stages import Stages
from dm0_ros.engine.timing import Stopwatch, Timing
from dm0_ros.engine.workspace import Workspace
from dm0_ros.model import DM0


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
        if capture is None:
            graphs = options.graphs and self.device.type == "cuda"
            capture = CudaCapture(self.device) if graphs else run_directly
        self._graphs = Graphs(capture)

    @torch.no_grad()
    def infer(
        self, requests: Sequence[Request], reasoning: Reasoning | None = None
    ) -> list[Result]:
        """Answers to a batch of observations, one a request, in order.

        With `reasoning`, text is generated first, and the actions see it. The first call of each
        size chooses, compiles and captures; see `warm_up`. Raises `ObservationError` where a
        request does not fit.
        """
        room = self.options.text_limit - (reasoning.limit if reasoning else 0)
        check_requests(requests, room, self.config)
        space = self._space(len(requests), len(requests[0].frames))
        try:
            return self._run(requests, reasoning, space)
        except BaseException:
            # Frames that came over but were not read must not pass for known ones.
            space.intake.forget()
            raise

    def warm_up(
        self, sizes: Sizes, texts: Sequence[int], reasoning: Reasoning | None = None
    ) -> None:
        """Prepares for one robot with frames of `sizes` and texts of so many tokens.

        All is then ready whichever of its views change from one call to the next.
        """
        random = np.random.default_rng(0)
        rows = (self.config.chunk_size, self.config.action_dim)
        frames = [random.integers(0, 255, (*size, 3), np.uint8) for size in sizes]
        for tokens in texts:
            request = Request(
                frames=tuple(frames),
                token_ids=np.zeros(tokens, np.int64),
                noise=random.standard_normal(rows, np.float32),
                progress=0.0 if self.config.progress else None,
            )
            self.infer([request], reasoning)
            for kept in range(len(sizes) + 1 if self.options.reuse else 0):
                changed = [255 - frame for frame in request.frames[kept:]]
                request = replace(request, frames=(*request.frames[:kept], *changed))
                self.infer([request], reasoning)
        self.forget()

    def forget(self) -> None:
        """Reuses nothing of earlier calls: the next answers are those of a new engine."""
        for space in self._spaces.values():
            space.intake.forget()

    def describe(self) -> dict:
        """What was chosen for this machine, and how many graphs were captured."""
        return {**self._stages.describe(), "graphs": len(self._graphs)}

    def _run(
        self, requests: Sequence[Request], reasoning: Reasoning | None, space: Workspace
    ) -> list[Result]:
        batch, views = len(requests), len(requests[0].frames)
        watch = Stopwatch(self.device)
        watch.mark()
        sizes, kept = space.intake.take([f for request in requests for f in request.frames])
        space.fill(requests)
        watch.mark()
        if kept < batch * views:
            self._graphs.run(
                ("vision", batch, sizes, kept), lambda: self._vision(space, sizes, kept)
            )
        watch.mark()
        bucket = self._bucket(max(len(request.token_ids) for request in requests))
        start, speak = kept * self.config.vision.tokens, reasoning is not None
        self._graphs.run(
            ("prefix", batch, views, start, bucket, speak),
            lambda: self._prefix(space, start, bucket, speak),
        )
        watch.mark()
        texts = self._speak(space, reasoning) if reasoning else [[] for _ in requests]
        lengths = [len(r.token_ids) + len(t) for r, t in zip(requests, texts, strict=True)]
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

    def _speak(self, space: Workspace, reasoning: Reasoning) -> list[list[int]]:
        """The likeliest text of each observation, read into the cache as it grows."""
        texts: list[list[int]] = [[] for _ in space.token]
        space.talking.host[:] = 1
        for _ in range(reasoning.limit):
            for index, token in enumerate(space.likeliest.tolist()):
                if token in reasoning.stop_ids:
                    space.talking.host[index] = 0
                elif space.talking.host[index]:
                    texts[index].append(token)
            if not space.talking.host.any():
                break
            space.token.copy_(space.likeliest)
            self._graphs.run(("token", *space.seen.shape[:2]), lambda: self._token(space))
            space.talking.upload()
            space.lengths.add_(space.talking.device)
        return texts

    def _vision(self, space: Workspace, sizes: tuple, kept: int) -> Action:
        fresh = space.intake.fresh(sizes, kept)
        count = self.config.vision.tokens
        place = space.seen.view(-1, count, space.seen.shape[-1])[kept:]
        encode = self._stages.vision(len(place))

        def action() -> None:
            place.copy_(encode(fresh))

        return action

    def _prefix(self, space: Workspace, start: int, bucket: int, speak: bool) -> Action:
        read = self._stages.prefix(space, start, bucket, speak)
        ids = space.text.device[:, 1 : 1 + bucket]

        def action() -> None:
            likeliest = read(ids)
            if speak:
                space.likeliest.copy_(likeliest)

        return action

    def _token(self, space: Workspace) -> Action:
        read = self._stages.token(space)

        def action() -> None:
            space.likeliest.copy_(read())

        return action

    def _flow(self, space: Workspace, begin: int, padded: bool) -> Action:
        integrate = self._stages.flow(space, begin, padded)

        def action() -> None:
            space.put(*integrate())

        return action

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
