# SPDX-License-Identifier: Apache-2.0
"""What a hybrid batch teaches: text by cross-entropy, actions by flow matching, in one reading.

The prefix of a sample is pictures | prompt | cue | answer | stop token. The language model is
taught each token of answer and stop from all before it; the action expert sees what an engine
would show it: pictures and prompt, and as much of cue and answer as the sample says, never the
stop token. The prefix is causal, so hiding its end equals reading a shorter text.

Formulas: facts, dm0_model.md, D.2 and D.3. F frames, B samples, T tokens, H rows, D columns.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from dm0_ros.model import DM0, PrefixCache
from dm0_ros.model.flow import interpolate
from dm0_ros.model.prefix import make_cache


@dataclass(frozen=True)
class HybridBatch:
    """F frames with V views and B samples, B / F for each frame, which follow each other.

    A sample without actions has zeros for them, one without an answer no `learnt` token.
    """

    images: Tensor  # (F, V, 3, P, P) float32 in [-1, 1]
    image_masks: Tensor  # (F, V) bool
    token_ids: Tensor  # (B, T): prompt, cue, answer, stop, padding
    token_mask: Tensor  # (B, T) bool, true on all but the padding
    learnt: Tensor  # (B, T) bool, true on tokens that are to be foretold from those before them
    prompts: Tensor  # (B,) number of tokens that the prompt has
    shown: Tensor  # (B,) number of tokens, from the first on, that the expert sees
    actions: Tensor  # (B, H, D) normalised
    acted: Tensor  # (B,) bool: the sample has actions
    progress: Tensor | None = None  # (B, 2) share of the task done now, and at the chunk's end

    def to(self, device: torch.device) -> HybridBatch:
        """The same on a device."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {name: part.to(device) for name, part in parts.items() if part is not None}
        return replace(self, **moved)


@dataclass(frozen=True)
class SampleLosses:
    """Of each of B samples, and whether it counts. What does not count is zero."""

    values: Tensor  # (B,) float32
    counted: Tensor  # (B,) bool

    def mean(self, count: Tensor | None = None) -> Tensor:
        """Over the samples that count; over ``count``, positive, where more lie elsewhere.

        Zero, and not undefined, where none counts.
        """
        total = self.counted.sum().clamp(min=1) if count is None else count
        return self.values.sum() / total


@dataclass(frozen=True)
class HybridLosses:
    """Of one batch, sample by sample."""

    text: SampleLosses  # nats, mean over the sample's learnt tokens
    flow: SampleLosses  # mean square over rows and columns
    progress: SampleLosses | None  # square of the error at the chunk's end
    cache: PrefixCache  # as it was read, with hidden states and the whole text

    def parts(self) -> dict[str, SampleLosses]:
        """Those there are, by name."""
        named = {"text": self.text, "flow": self.flow, "progress": self.progress}
        return {name: part for name, part in named.items() if part is not None}


def hybrid_losses(
    model: DM0, batch: HybridBatch, noise: Tensor, time: Tensor, decouple: bool
) -> HybridLosses:
    """Text and flow losses of a batch from one reading of its prefix.

    Every parameter takes part whatever the samples have, with a gradient of zero where nothing
    counts: processes that share the work must agree about what they exchange.

    Args:
        noise: (B, H, D) or (B, K, H, D), K noises to a sample. time: (B,) or (B, K), in (0, 1].
        decouple: the expert sees detached keys and values in every layer, so that what it learns
            never reaches the language model or the vision tower.

    Raises:
        ValueError: the shapes do not fit each other, or progress is missing.
        ObservationError: progress is given to a network without a head for it.
    """
    _check(batch, noise, time)
    batch = _complete_progress(model, batch)
    inputs = (batch.images, batch.image_masks, batch.token_ids, batch.token_mask)
    cache = model.encode_prefix(*inputs, want_hidden=True)
    seen = visible_cache(model, cache, batch.token_mask.sum(1) - batch.shown)
    flow, progress = _flow_losses(model, batch, seen.detach() if decouple else seen, noise, time)
    return HybridLosses(_text_losses(model, batch, cache), flow, progress, cache)


def visible_cache(model: DM0, cache: PrefixCache, hidden: Tensor) -> PrefixCache:
    """The cache without the last ``hidden`` (B,) tokens of each observation.

    It holds what reading the shorter texts would have left. It has no hidden states.
    """
    lengths, following = cache.lengths - hidden, model.config.chunk_size + 1
    longest = int(lengths.max())
    layers = [(key[:, :, :longest], value[:, :, :longest]) for key, value in cache.layers]
    table = model.rope_table(longest + following, cache.rope[0])
    return make_cache(layers, lengths, table, following, None)


def last_of_prompt(batch: HybridBatch, cache: PrefixCache) -> Tensor:
    """The prefix's normed output (B, hidden) at the prompt's last token, before any text."""
    places = _first_place(batch, cache) + batch.prompts - 1
    return cache.hidden[torch.arange(len(cache), device=places.device), places]


def _first_place(batch: HybridBatch, cache: PrefixCache) -> Tensor:
    """Where the text of each sample begins, behind its pictures: (B,)."""
    return cache.lengths - batch.token_mask.sum(1)


def _text_losses(model: DM0, batch: HybridBatch, cache: PrefixCache) -> SampleLosses:
    """Cross-entropy with the tied head in float32: rounded logits would be rounded losses."""
    rows, places = batch.learnt.nonzero(as_tuple=True)
    before = _first_place(batch, cache)[rows] + places - 1
    head = model.model.llm.embed_tokens.weight
    with torch.autocast(head.device.type, enabled=False):
        logits = F.linear(cache.hidden[rows, before].float(), head.float())
        nats = F.cross_entropy(logits, batch.token_ids[rows, places], reduction="none")
    counts = batch.learnt.sum(1)
    sums = nats.new_zeros(len(counts)).index_add(0, rows, nats)
    return SampleLosses(sums / counts.clamp(min=1), counts > 0)


def _flow_losses(
    model: DM0, batch: HybridBatch, cache: PrefixCache, noise: Tensor, time: Tensor
) -> tuple[SampleLosses, SampleLosses | None]:
    repeats = noise.shape[1] if noise.ndim == 4 else 1
    x_t, target = interpolate(
        batch.actions[:, None] if noise.ndim == 4 else batch.actions, noise, time
    )
    now = end = None
    if batch.progress is not None:
        now, end = batch.progress.repeat_interleave(repeats, 0).unbind(1)
    shape = (-1, *x_t.shape[-2:])
    found, foretold = model.velocity(
        cache.repeat(repeats), x_t.reshape(shape), time.flatten(), progress=now
    )

    def average(errors: Tensor) -> SampleLosses:
        """Over a sample's noises; the square of float32, as under autocast `mse_loss` is."""
        values = errors.float().square().view(len(batch.acted), -1).mean(1)
        return SampleLosses(values * batch.acted, batch.acted)

    flow = average(found - target.reshape(shape))
    return flow, None if end is None else average(foretold.flatten() - end)


def _complete_progress(model: DM0, batch: HybridBatch) -> HybridBatch:
    """Progress of nothing where nobody acts: the head takes part all the same."""
    if not model.config.progress or batch.progress is not None:
        return batch
    if bool(batch.acted.any()):
        raise ValueError(
            "the network has a progress head: samples with actions must say their progress"
        )
    return replace(batch, progress=batch.actions.new_zeros(len(batch.acted), 2))


def _check(batch: HybridBatch, noise: Tensor, time: Tensor) -> None:
    tokens = batch.token_mask.sum(1)
    if bool((batch.shown > tokens).any()) or bool((batch.shown < 1).any()):
        raise ValueError("the expert must be shown at least a token, and none beyond the text")
    if bool(batch.learnt[:, 0].any()) or bool((batch.learnt & ~batch.token_mask).any()):
        raise ValueError("a learnt token must be one of the text, and not its first")
    wanted = tuple(batch.actions.shape)
    if noise.ndim not in (3, 4) or (len(noise), *noise.shape[-2:]) != wanted:
        raise ValueError(f"noise has shape {tuple(noise.shape)}, actions {wanted}")
    if time.shape != noise.shape[:-2]:
        raise ValueError(f"time has shape {tuple(time.shape)}, noise {tuple(noise.shape)}")
