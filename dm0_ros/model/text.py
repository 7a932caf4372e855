# SPDX-License-Identifier: Apache-2.0
"""Text out of the language model, kept in the cache that the action expert then sees.

The plain form of it, which faster ones are held against (facts: dm0_model.md, D.5). A prompt for
an answer ends with the cue `ASSISTANT: `; for actions alone there is none.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dm0_ros.errors import ObservationError
from dm0_ros.model.dm0 import DM0
from dm0_ros.model.prefix import (
    PrefixCache,
    make_cache,
    order_valid,
    pick,
    places_after,
    rope_at,
)
from dm0_ros.model.reasoning import CHOICES, Reasoning, Text, Writer, draw_token


@torch.no_grad()
def generate(
    model: DM0, cache: PrefixCache, reasoning: Reasoning
) -> tuple[list[Text], PrefixCache]:
    """A continuation of each observation, token by token.

    Args:
        cache: of B observations, encoded with `want_hidden`. It stays as it was.

    Returns:
        The text of each observation, and the cache that holds all of its tokens.
    """
    writer = Writer(reasoning, len(cache))
    while writer.goes_on():
        tokens = choose_token(predict_token(model, cache), *writer.draw())
        longer = writer.take(tokens.tolist())
        if any(longer):
            counts = torch.tensor(longer, dtype=torch.long, device=tokens.device)
            cache = read_on(model, cache, tokens[:, None], counts)
    return writer.texts(), cache


def choose_token(logits: Tensor, chances: Sequence[float] | None, temperature: float) -> Tensor:
    """The likeliest tokens (B,) of logits (B, vocabulary); with ``chances`` (B), drawn ones."""
    if chances is None:
        return logits.argmax(-1)
    best, tokens = logits.topk(min(CHOICES, logits.shape[1]))
    chance = torch.tensor(chances, device=logits.device)
    places = draw_token(best, chance, torch.full_like(chance, temperature))
    return tokens.gather(1, places[:, None]).squeeze(1)


@torch.no_grad()
def predict_token(model: DM0, cache: PrefixCache) -> Tensor:
    """Logits of the token that follows each observation, (B, vocabulary) float32.

    The head is tied to the embeddings. It is applied in float32 whatever the matrices have: in
    bfloat16, logits around 20 would be rounded to eighths, and several tokens be the likeliest.

    Raises:
        ValueError: the cache was encoded without `want_hidden`.
    """
    if cache.hidden is None:
        raise ValueError("text needs the prefix's hidden states: encode it with want_hidden=True")
    each = torch.arange(len(cache), device=cache.lengths.device)
    last = cache.hidden[each, cache.lengths - 1]
    return F.linear(last.float(), model.model.llm.embed_tokens.weight.float())


@torch.no_grad()
def read_on(
    model: DM0, cache: PrefixCache, token_ids: Tensor, counts: Tensor | None = None
) -> PrefixCache:
    """The cache as if the text of each observation had gone on with these tokens.

    Args:
        cache: of B observations. It stays as it was.
        token_ids: (B, n). counts: how many of them each observation reads, (B,), from the first
            on; None: all.

    Returns:
        A cache of the longer texts; with hidden states where `cache` has them.

    Raises:
        ObservationError: the ids do not fit the cache or the network.
    """
    _check_tokens(model, cache, token_ids)
    llm, count = model.model.llm, token_ids.shape[1]
    x = llm.embed_tokens(token_ids)
    longest, following = cache.layers[0][0].shape[2], model.config.chunk_size + 1
    table = model.rope_table(longest + count + following, x)
    rope = rope_at(table, places_after(cache.lengths, count))
    place = torch.arange(longest, device=x.device)
    old = place < cache.lengths[:, None]
    new = torch.ones(count, count, dtype=torch.bool, device=x.device).tril()
    mask = torch.cat((old[:, None].expand(-1, count, -1), new.expand(len(x), -1, -1)), 2)
    if counts is None:
        counts = torch.full_like(cache.lengths, count)
    valid = torch.cat((old, place.new_tensor(range(count)) < counts[:, None]), 1)
    order, lengths = order_valid(valid)
    layers = []
    for layer, past in zip(llm.layers, cache.layers, strict=True):
        x, own = layer(x, rope, past, mask[:, None])
        pairs = zip(past, own, strict=True)
        layers.append(tuple(pick(torch.cat(pair, 2), order) for pair in pairs))
    hidden = cache.hidden
    if hidden is not None:
        hidden = pick(torch.cat((hidden, llm.norm(x)), 1), order)
    return make_cache(layers, lengths, table, following, hidden)


def _check_tokens(model: DM0, cache: PrefixCache, token_ids: Tensor) -> None:
    if token_ids.ndim != 2 or len(token_ids) != len(cache):
        raise ObservationError(
            f"token_ids have shape {tuple(token_ids.shape)}; it must be ({len(cache)}, n)"
        )
    vocabulary = model.config.llm.vocab_size
    if token_ids.numel() and not 0 <= int(token_ids.min()) <= int(token_ids.max()) < vocabulary:
        raise ObservationError(
            f"token ids must lie in 0 to {vocabulary - 1}: use the checkpoint's own tokenizer"
        )
