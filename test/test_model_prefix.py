# SPDX-License-Identifier: Apache-2.0
"""What must not matter (padding, masked views, company in the batch), and what must."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_samples import SMALL, chunk, observation, small_model

from dm0_ros.errors import ObservationError
from dm0_ros.model.flow import embed_time

MODEL = small_model()
CLOSE = {"atol": 2e-5, "rtol": 1e-5}


def joint_velocity(model, images, image_masks, ids, mask, x_t, time):
    """The published form, for one sample: nothing dropped, one joint sequence, additive mask.

    Masked views and padding take part; block indices decide who sees whom, positions count valid
    tokens (facts: dm0_model.md, A.4 and A.5). Slow and naive on purpose.
    """
    net, llm = model.model, model.config.llm
    expert = net.action_expert["model"]
    pictures = model.encode_pictures(images[0])
    prefix = torch.cat((pictures.flatten(0, 1)[None], net.llm.embed_tokens(ids)), 1)
    valid = torch.cat((image_masks[0].repeat_interleave(pictures.shape[1]), mask[0]))
    tokens = net.action_in_proj(x_t)
    waves = embed_time(time, tokens.shape[-1])[:, None].expand_as(tokens)
    mixed = net.action_time_mlp_in(torch.cat((tokens, waves), -1))
    suffix = net.action_time_mlp_out(torch.nn.functional.silu(mixed))
    count = suffix.shape[1]
    valid = torch.cat((valid, torch.ones(count, dtype=torch.bool)))
    blocks = torch.cat((torch.ones(prefix.shape[1]), torch.eye(1, count)[0])).cumsum(0)
    allowed = (blocks[None] <= blocks[:, None]) & valid[None] & valid[:, None]
    bias = torch.where(allowed, 0.0, -2.3819763e38)
    positions = (valid.long().cumsum(0) - 1).float()
    half = llm.head_dim // 2
    rates = llm.rope_theta ** (-torch.arange(half) / half)
    angles = torch.cat((positions[:, None] * rates,) * 2, -1)

    def turn(x):
        swapped = torch.cat((-x[..., half:], x[..., :half]), -1)
        return x * angles.cos() + swapped * angles.sin()

    streams = [prefix, suffix]
    for pair in zip(net.llm.layers, expert.layers, strict=True):
        parts = []
        for layer, x in zip(pair, streams, strict=True):
            attn, h = layer.self_attn, layer.input_layernorm(x)
            split = [
                proj(h).view(1, x.shape[1], -1, llm.head_dim).transpose(1, 2)
                for proj in (attn.q_proj, attn.k_proj, attn.v_proj)
            ]
            parts.append((attn.q_norm(split[0]), attn.k_norm(split[1]), split[2]))
        query, key, value = (torch.cat(side, 2) for side in zip(*parts, strict=True))
        repeats = llm.num_attention_heads // llm.num_key_value_heads
        key, value = turn(key).repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
        scores = turn(query) @ key.transpose(2, 3) / llm.head_dim**0.5 + bias
        out = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
        halves = out.split([prefix.shape[1], count], 1)
        for index, layer in enumerate(pair):
            x = streams[index] + layer.self_attn.o_proj(halves[index])
            streams[index] = x + layer.mlp(layer.post_attention_layernorm(x))
    return net.action_out_proj(expert.norm(streams[1]))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.booleans(), min_size=2, max_size=2),
    st.lists(st.booleans(), min_size=7, max_size=7),
    st.integers(0, 1000),
)
def test_dropping_equals_masking(views, words, seed):
    if not any(views + words):
        words[0] = True
    images, _, ids, _ = observation(batch=1, seed=seed)
    masks = torch.tensor([views]), torch.tensor([words])
    x_t, time = chunk(batch=1, seed=seed), torch.tensor([0.37])
    with torch.no_grad():
        cache = MODEL.encode_prefix(images, masks[0], ids, masks[1])
        assert cache.layers[0][0].shape[2] == sum(words) + sum(views) * SMALL.vision.tokens
        dropped, _ = MODEL.velocity(cache, x_t, time)
        masked = joint_velocity(MODEL, images, masks[0], ids, masks[1], x_t, time)
    torch.testing.assert_close(dropped, masked, **CLOSE)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.lists(st.booleans(), min_size=9, max_size=9).filter(any), min_size=2, max_size=4),
    st.integers(0, 1000),
)
def test_a_batch_equals_its_samples(masks, seed):
    images, _, ids, _ = observation(batch=len(masks), seed=seed)
    valid = torch.tensor(masks)
    inputs = (images, valid[:, :2], ids, valid[:, 2:])
    noise = chunk(batch=len(masks), seed=seed)
    together = MODEL.sample_actions(*inputs, noise=noise, steps=2)
    for index in range(len(masks)):
        one = slice(index, index + 1)
        alone = MODEL.sample_actions(*(x[one] for x in inputs), noise=noise[one], steps=2)
        torch.testing.assert_close(together[one], alone, **CLOSE)


def test_padding_anywhere_and_of_any_id_changes_nothing():
    images, views, ids, _ = observation(batch=1, text=3)
    noise = chunk(batch=1)
    plain = MODEL.sample_actions(images, views, ids, torch.ones_like(ids).bool(), noise=noise)
    padded = torch.full((1, 8), 10**6)
    mask = torch.zeros(1, 8, dtype=torch.bool)
    for place, token in zip((1, 4, 6), ids[0], strict=True):
        padded[0, place], mask[0, place] = token, True
    moved = MODEL.sample_actions(images, views, padded, mask, noise=noise)
    torch.testing.assert_close(moved, plain, **CLOSE)


def test_content_of_a_masked_view_is_never_read():
    images, views, ids, mask = observation(batch=1)
    views[0, 1] = False
    noise = chunk(batch=1)
    plain = MODEL.sample_actions(images, views, ids, mask, noise=noise)
    images[0, 1] = float("nan")
    assert torch.equal(MODEL.sample_actions(images, views, ids, mask, noise=noise), plain)


@pytest.mark.parametrize("changed", ["picture", "second picture", "word", "noise", "word order"])
def test_every_input_shows_in_the_actions(changed):
    images, views, ids, mask = observation(batch=1)
    noise = chunk(batch=1)
    plain = MODEL.sample_actions(images, views, ids, mask, noise=noise)
    if "picture" in changed:
        images[0, 1 if "second" in changed else 0] *= -1
    elif changed == "word":
        ids[0, 2] = (ids[0, 2] + 5) % SMALL.llm.vocab_size
    elif changed == "word order":
        ids = ids.flip(1)
    else:
        noise = noise + 0.1
    moved = MODEL.sample_actions(images, views, ids, mask, noise=noise)
    assert (moved - plain).abs().max() > 1e-3


def test_prefix_hidden_states_do_not_change_the_cache():
    inputs = observation()
    with torch.no_grad():
        short = MODEL.encode_prefix(*inputs)
        full = MODEL.encode_prefix(*inputs, want_hidden=True)
    assert short.hidden is None and full.hidden.shape[-1] == SMALL.llm.hidden_size
    for one, other in zip(short.layers, full.layers, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_noise_is_drawn_from_torchs_generator():
    inputs = observation()
    torch.manual_seed(5)
    first = MODEL.sample_actions(*inputs)
    torch.manual_seed(5)
    assert torch.equal(MODEL.sample_actions(*inputs), first)
    assert not torch.equal(MODEL.sample_actions(*inputs), first)


def test_sampling_is_euler_on_the_public_velocity():
    inputs, x = observation(), chunk()
    expected = MODEL.sample_actions(*inputs, noise=x, steps=4)
    with torch.no_grad():
        cache = MODEL.encode_prefix(*inputs)
        for time in (1.0, 0.75, 0.5, 0.25):
            x = x - MODEL.velocity(cache, x, torch.tensor(time))[0] / 4
    torch.testing.assert_close(x, expected, **CLOSE)


@pytest.mark.parametrize(
    ("position", "replacement", "words"),
    [
        (0, torch.zeros(2, 2, 3, 32, 32), "images have shape"),
        (1, torch.ones(2, 3, dtype=torch.bool), "image_masks have shape"),
        (2, torch.ones(1, 7, dtype=torch.long), "token_ids have shape"),
        (3, torch.ones(2, 6, dtype=torch.bool), "token_mask has shape"),
        (2, torch.full((2, 7), 40), "tokenizer"),
        (2, torch.full((2, 7), -1), "tokenizer"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(position, replacement, words):
    inputs = list(observation())
    inputs[position] = replacement
    with pytest.raises(ObservationError, match=words):
        MODEL.sample_actions(*inputs)


def test_empty_observation_is_refused():
    images, views, ids, mask = observation()
    with pytest.raises(ObservationError, match="neither"):
        MODEL.sample_actions(images, views & False, ids, mask & False)


def test_progress_needs_a_progress_head():
    with pytest.raises(ObservationError, match="no progress head"):
        MODEL.sample_actions(*observation(), progress=torch.zeros(2, 1, 1))


def test_wrong_noise_and_steps_are_refused():
    with pytest.raises(ValueError, match="noise has shape"):
        MODEL.sample_actions(*observation(), noise=torch.zeros(1, 5, 6))
    with pytest.raises(ValueError, match="at least 1"):
        MODEL.sample_actions(*observation(), steps=0)


def test_several_texts_share_the_pictures_of_an_observation():
    images, image_masks, _, _ = observation(batch=2)
    image_masks[1, 0] = False
    _, _, ids, mask = observation(batch=6, seed=3)
    mask[4, 5:] = False
    together = MODEL.encode_prefix(images, image_masks, ids, mask)
    copies = (images.repeat_interleave(3, 0), image_masks.repeat_interleave(3, 0))
    apart = MODEL.encode_prefix(*copies, ids, mask)
    assert torch.equal(together.lengths, apart.lengths)
    for one, other in zip(together.layers, apart.layers, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)
