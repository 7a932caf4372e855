# SPDX-License-Identifier: Apache-2.0
"""The stages of the fast network, each with what was chosen for this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from dm0_ros.engine.attention import Attend, AttentionShape, Choice, choose
from dm0_ros.engine.attention_kernels import CANDIDATES
from dm0_ros.engine.decoder import run_causal_layer
from dm0_ros.engine.flow import SuffixLayer, make_field, place_suffix, run_suffix_layer
from dm0_ros.engine.fp8 import convert_layers
from dm0_ros.engine.frames import FramePreparer
from dm0_ros.engine.layers import TORCH, LayerChoice, choose_suffix_layer
from dm0_ros.engine.options import EngineOptions
from dm0_ros.engine.prefix import read_prefix
from dm0_ros.engine.text import choose_token, read_token, run_token_layer
from dm0_ros.engine.vision import encode_pictures, run_block
from dm0_ros.engine.weights import fuse_flow, fuse_prefix, fuse_vision
from dm0_ros.engine.workspace import Workspace
from dm0_ros.model import DM0
from dm0_ros.model.flow import euler_times
from dm0_ros.model.guidance import Guidance, integrate
from dm0_ros.model.reasoning import Speech

COMPILED_SHAPES = 64
"""Numbers of views, lengths of text and sizes of batches, all combinations of them together."""


class Stages:
    """Fused weights, and the functions over them."""

    def __init__(self, model: DM0, options: EngineOptions, preparer: FramePreparer) -> None:
        self.config = model.config
        self._options = options
        self._preparer = preparer
        self._device = model.device
        self._vision = fuse_vision(model)
        self._prefix = fuse_prefix(model)
        self._flow = fuse_flow(model, options.steps)
        self._times = euler_times(options.steps).tolist()
        if options.fp8:
            self._vision = replace(self._vision, blocks=convert_layers(self._vision.blocks))
            self._prefix = replace(self._prefix, layers=convert_layers(self._prefix.layers))
        self.dtype = self._prefix.embeddings.dtype
        self._choices: dict[AttentionShape, Choice] = {}
        self._layers: dict[int, LayerChoice] = {}  # by size of the batch
        wrap = compile_layer if options.compiled else lambda function: function
        self._block, self._causal, self._token_layer, self._suffix = map(
            wrap, (run_block, run_causal_layer, run_token_layer, run_suffix_layer)
        )

    def vision(self, views: int) -> Callable[[Sequence[Tensor]], Tensor]:
        """Frames uint8 (n, h, w, 3), `views` in all -> tokens (views, n, hidden)."""
        size = self.config.vision
        tokens = 1 + size.grid**2
        attend = self._choose(
            AttentionShape(
                views, size.heads, size.heads, tokens, tokens, size.width // size.heads,
                masked=False, causal=False,
            )
        )  # fmt: skip

        def encode(frames: Sequence[Tensor]) -> Tensor:
            pixels = torch.cat([self._preparer(part) for part in frames])
            return encode_pictures(pixels, self._vision, size, attend, self._block)

        return encode

    def prefix(
        self, space: Workspace, start: int, bucket: int, speech: Speech
    ) -> Callable[[Tensor], Tensor | None]:
        """Token ids (B, bucket) -> the cache of `space`, from row `start` on.

        With speech also the tokens after the text, (B,).
        """
        llm = self.config.llm
        rows = space.seen.shape[1] + bucket
        attend = self._choose(
            AttentionShape(
                len(space.seen), llm.num_attention_heads, llm.num_key_value_heads,
                rows - start, rows, llm.head_dim, masked=start > 0, causal=start == 0,
            )
        )  # fmt: skip

        def read(ids: Tensor) -> Tensor | None:
            hidden = read_prefix(
                space.seen, ids, start, self._prefix, space.cache, space.rope, attend,
                self._causal, speech is not Speech.NONE,
            )  # fmt: skip
            if hidden is None:
                return None
            each = torch.arange(len(ids), device=ids.device)
            last = hidden[each, space.lengths - 1 - start]
            return choose_token(last, self._prefix, space.chance_of(speech))

        return read

    def token(self, space: Workspace, speech: Speech) -> Callable[[], Tensor]:
        """The token of `space` into its cache -> the tokens after it, (B,)."""
        llm = self.config.llm
        shared = llm.num_key_value_heads
        attend = self._choose(
            AttentionShape(
                len(space.seen), shared, shared, llm.num_attention_heads // shared, space.reach,
                llm.head_dim, masked=True, causal=False,
            )
        )  # fmt: skip
        return lambda: read_token(
            space.token, space.lengths, space.reach, self._prefix, space.cache, space.rope,
            attend, self._token_layer, space.chance_of(speech),
        )  # fmt: skip

    def flow(
        self, space: Workspace, begin: int, padded: bool
    ) -> Callable[[], tuple[Tensor, Tensor | None]]:
        """The answer of `space` from its noise and its cache of `begin` rows."""
        llm = self.config.llm
        count = self.config.chunk_size + self.config.progress
        shared = llm.num_key_value_heads
        attend = self._choose(
            AttentionShape(
                len(space.seen), shared, shared, count * llm.num_attention_heads // shared,
                begin + count, llm.head_dim, masked=padded, causal=False,
            )
        )  # fmt: skip
        guidance = self._options.guidance
        if guidance is Guidance.JACOBIAN:
            layer = partial(run_suffix_layer, attend=CANDIDATES["default"], differentiable=True)
        else:
            plain = partial(self._suffix, attend=attend)
            layer = self._choose_layer(space, plain, begin, padded)

        def run() -> tuple[Tensor, Tensor | None]:
            suffix = place_suffix(begin, count, space.lengths, space.rope, padded)
            progress = space.progress if self.config.progress else None
            field = make_field(progress, self._flow, space.cache, suffix, layer)
            return integrate(space.noise, self._times, field, guidance, space.commitment)

        return run

    def describe(self) -> dict:
        """What was chosen: attention by shape, the action expert's layer by size of the batch."""
        return {
            "dtype": str(self.dtype),
            "attention": dict(self._choices),
            "expert": dict(self._layers),
        }

    def _choose_layer(
        self, space: Workspace, plain: SuffixLayer, begin: int, padded: bool
    ) -> SuffixLayer:
        batch = len(space.seen)
        if batch not in self._layers:
            count = self.config.chunk_size + self.config.progress
            self._layers[batch] = choose_suffix_layer(
                plain,
                self._flow.layers[0],
                space.cache.keys[0],
                space.cache.values[0],
                place_suffix(begin, count, space.lengths, space.rope, padded),
                self._options.kernels,
            )
        choice = self._layers[batch]
        return plain if choice.name == TORCH else choice.layer

    def _choose(self, shape: AttentionShape) -> Attend:
        """By timing on the first shape of a kind; lengths alone do not ask for another choice.

        On a CPU torch's own choice is never far from the fastest, and the same in every run.
        """
        kind = replace(shape, queries=0, keys=0)
        if kind not in self._choices:
            name = "default" if self._device.type == "cpu" else None
            if self._options.attention and not shape.masked:
                name = self._options.attention
            self._choices[kind] = choose(shape, self.dtype, self._device, name)
        return self._choices[kind].attend


def compile_layer(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compiled once for all layers of a kind, which have one shape; again for each new one."""
    # Beyond torch's own limit of eight, a call with another shape fails instead of compiling it.
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, COMPILED_SHAPES)
    return torch.compile(
        function, mode="max-autotune-no-cudagraphs", fullgraph=True, dynamic=False
    )
