# SPDX-License-Identifier: Apache-2.0
"""Both streams against transformers' own Qwen3 with the same random weights.

In float32 to rounding; in bfloat16 bit for bit, because there the roundings are those of the
reference, which is built from these modules.
"""

from dataclasses import replace

import pytest
import torch
from model_samples import SMALL, qwen_config, small_model
from transformers import DynamicCache, Qwen3Model

from dm0_ros.model.rotary import sequence_table

DTYPES = [torch.float32, torch.bfloat16]
HEADS = [(4, 2), (4, 1), (4, 4)]  # query heads, key heads
LONG = 300  # positions; the language model sees 546 of them in public checkpoints


def build(heads=(4, 2), seed=0):
    """Our network; every norm has weights of its own, and all weights are bfloat16 values."""
    sizes = {"num_attention_heads": heads[0], "num_key_value_heads": heads[1]}
    model = small_model(
        seed, llm=replace(SMALL.llm, **sizes), expert=replace(SMALL.expert, **sizes)
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.copy_(1 + 0.2 * torch.randn(weight.shape, generator=generator))
            weight.copy_(weight.bfloat16())
    return model


def build_theirs(size, ours, dtype):
    theirs = Qwen3Model(qwen_config(size)).eval()
    state = ours.state_dict()
    # The expert has no embeddings, here and in public checkpoints.
    state.setdefault("embed_tokens.weight", theirs.embed_tokens.weight)
    theirs.load_state_dict(state)
    return theirs.to(dtype)  # which rounds its rotary frequencies, too


def table_of(size, dtype):
    rounded = dtype == torch.bfloat16
    return tuple(
        part.to(dtype) for part in sequence_table(LONG, size.head_dim, size.rope_theta, rounded)
    )


def check(found, expected, dtype):
    assert found.dtype == expected.dtype == dtype
    tolerance = {"atol": 2e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0, "rtol": 0}
    torch.testing.assert_close(found, expected, **tolerance)


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("dtype", DTYPES)
@torch.no_grad()
def test_the_prefix_stream_equals_transformers(dtype, heads):
    model = build(heads)
    ours, size = model.model.llm.to(dtype), model.config.llm
    theirs = build_theirs(size, ours, dtype)
    ids = torch.randint(0, size.vocab_size, (2, LONG), generator=torch.Generator().manual_seed(0))
    # Padding at the end, as a batch of different lengths has it; ours is hidden by causality.
    valid = torch.arange(LONG) < torch.tensor([[LONG], [LONG - 60]])
    expected = theirs(input_ids=ids, attention_mask=valid, use_cache=True)
    layers, hidden = ours.encode(ours.embed_tokens(ids), table_of(size, dtype), want_hidden=True)
    check(hidden[valid], expected.last_hidden_state[valid], dtype)
    for (key, value), cached in zip(layers, expected.past_key_values.layers, strict=True):
        for one, other in ((key, cached.keys), (value, cached.values)):
            check(one.transpose(1, 2)[valid], other.transpose(1, 2)[valid], dtype)


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("dtype", DTYPES)
@torch.no_grad()
def test_the_suffix_stream_over_a_prefix_equals_transformers(dtype, heads):
    model = build(heads)
    ours, size = model.model.action_expert["model"].to(dtype), model.config.expert
    theirs = build_theirs(size, ours, dtype)
    generator = torch.Generator().manual_seed(0)
    prefix, count, lengths = 40, 6, torch.tensor([40, 25])
    x = torch.randn(2, count, size.hidden_size, generator=generator).to(dtype)
    shape = (2, size.num_key_value_heads, prefix, size.head_dim)
    past = [
        tuple(torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
        for _ in range(size.num_hidden_layers)
    ]
    cache = DynamicCache()
    for index, pair in enumerate(past):
        cache.update(*pair, index)
    # Valid rows of the prefix, and the whole suffix, whatever its order.
    there = torch.cat((torch.arange(prefix) < lengths[:, None], torch.ones(2, count).bool()), 1)
    mask = there[:, None, None].expand(-1, 1, count, -1)
    places = lengths[:, None] + torch.arange(count)
    cos, sin = table_of(size, dtype)
    rope = cos[places][:, None], sin[places][:, None]
    found = ours.attend(x, rope, past, mask)
    expected = theirs(
        inputs_embeds=x,
        position_ids=places,
        attention_mask=torch.where(mask, 0.0, -2.3819763e38).to(dtype),
        past_key_values=cache,
    )
    check(found, expected.last_hidden_state, dtype)


@torch.no_grad()
def test_float32_norms_and_stream_change_only_what_they_must():
    """The mixture that runs: norms of float32, and a float32 stream around bfloat16 matrices."""
    model = build()
    llm, size = model.model.llm, model.config.llm
    plain = build().model.llm.to(torch.bfloat16)
    llm.to(torch.bfloat16)
    for layer in llm.layers:
        layer.input_layernorm.float()
        layer.post_attention_layernorm.float()
    ids = torch.arange(30)[None]
    rope = tuple(part[:30] for part in table_of(size, torch.bfloat16))
    # Weights that are bfloat16 values give the same prefix wherever they are kept ...
    found = llm.encode(llm.embed_tokens(ids), rope, want_hidden=True)[1]
    assert torch.equal(found, plain.encode(plain.embed_tokens(ids), rope, want_hidden=True)[1])
    # ... and a float32 stream stays float32, as the suffix does.
    x = torch.randn(1, 30, size.hidden_size, generator=torch.Generator().manual_seed(0))
    wide, _ = llm.layers[0](x, rope, causal=True)
    narrow, _ = llm.layers[0](x.bfloat16(), rope, causal=True)
    assert wide.dtype == torch.float32 and not torch.equal(wide, wide.bfloat16().float())
    torch.testing.assert_close(wide, narrow.float(), atol=0.1, rtol=0.05)
