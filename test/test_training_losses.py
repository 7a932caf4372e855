# SPDX-License-Identifier: Apache-2.0
"""Hybrid losses: what each part is, whom it teaches, and what the expert sees of the text."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hybrid_samples import ANSWERS, CUE, PROMPT, STOP, hybrid_batch, noise_and_time
from model_samples import small_model, talkative_model
from test_engine_engine import SIZE, make_engine, make_request
from test_model_text import check_equal

from dm0_ros.model.reasoning import Reasoning
from dm0_ros.model.text import generate
from dm0_ros.policy.pictures import prepare_picture
from dm0_ros.training.losses import hybrid_losses, last_of_prompt, visible_cache

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
TRUNK = ("model.llm.", "model.mm_vision_tower.", "model.mm_projector.")


def sample_of(batch, row):
    """One sample on its own, its padding cut off."""
    queries = len(batch.token_ids) // len(batch.images)
    frame, own = slice(row // queries, row // queries + 1), slice(row, row + 1)
    length = int(batch.token_mask[row].sum())
    cut = {name: getattr(batch, name)[own] for name in ("prompts", "shown", "actions", "acted")}
    tokens = ("token_ids", "token_mask", "learnt")
    cut |= {name: getattr(batch, name)[own, :length] for name in tokens}
    if batch.progress is not None:
        cut["progress"] = batch.progress[own]
    return replace(batch, images=batch.images[frame], image_masks=batch.image_masks[frame], **cut)


def encode(model, batch):
    inputs = (batch.images, batch.image_masks, batch.token_ids, batch.token_mask)
    return model.encode_prefix(*inputs, want_hidden=True)


@torch.no_grad()
def test_text_loss_is_the_mean_over_answer_and_stop_token():
    model, batch = small_model(), hybrid_batch()
    found = hybrid_losses(model, batch, *noise_and_time(), decouple=True).text
    assert found.counted.tolist() == [True, True, False, True]
    for row, answer in enumerate(ANSWERS):
        if not answer:
            assert found.values[row] == 0
            continue
        own = sample_of(batch, row)
        hidden = encode(model, own).hidden[0]
        logits = hidden @ model.model.llm.embed_tokens.weight.T
        # pictures' tokens come first; answer and stop token end the sequence
        wanted = own.token_ids[0, PROMPT + 1 :]
        assert len(wanted) == answer + 1 and wanted[-1] == STOP
        expected = F.cross_entropy(logits[-answer - 2 : -1], wanted)
        torch.testing.assert_close(found.values[row], expected, **CLOSE)
    mean = found.values[[0, 1, 3]].mean()
    torch.testing.assert_close(found.mean(), mean, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("noises", [None, 3])
def test_flow_loss_is_that_of_the_network_on_what_the_expert_sees(noises):
    model, batch = small_model(), hybrid_batch()
    noise, time = noise_and_time(noises=noises)
    found = hybrid_losses(model, batch, noise, time, decouple=False).flow
    assert found.counted.tolist() == [True, True, True, False]
    for row in range(3):
        own = sample_of(batch, row)
        shown = int(own.shown)
        inputs = (own.images, own.image_masks, own.token_ids[:, :shown], own.token_mask[:, :shown])
        each = slice(row, row + 1)
        expected, _ = model.flow_loss(*inputs, own.actions, noise[each], time[each])
        torch.testing.assert_close(found.values[row], expected, **CLOSE)
    assert found.values[3] == 0
    torch.testing.assert_close(found.mean(), found.values[:3].mean(), **CLOSE)


def gradients(loss, model):
    """Names of parameters that get a gradient other than zero, of trunk and of expert."""
    model.zero_grad()
    loss.backward(retain_graph=True)
    moved = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    trunk = {name for name in moved if name.startswith(TRUNK)}
    return trunk, moved - trunk


@pytest.mark.parametrize("noises", [None, 2])
def test_decoupled_losses_never_meet(noises):
    model = small_model(progress=True)
    progress = torch.tensor([[0.1, 0.3], [0.2, 0.6], [0.0, 0.1], [0.5, 1.0]])
    batch = hybrid_batch(progress=progress)
    losses = hybrid_losses(model, batch, *noise_and_time(noises=noises), decouple=True)
    everything = {name for name, _ in model.named_parameters()}
    trunk = {name for name in everything if name.startswith(TRUNK)}
    # every weight of a part learns from its own loss, and none of the other part
    assert gradients(losses.text.mean(), model) == (trunk, set())
    taught, expert = gradients(losses.flow.mean(), model)
    assert taught == set() and expert == everything - trunk - {
        "model.progress_out_proj.weight", "model.progress_out_proj.bias"
    }  # fmt: skip
    taught, expert = gradients(losses.progress.mean(), model)
    assert taught == set() and "model.progress_out_proj.weight" in expert


def test_coupled_the_flow_teaches_the_trunk():
    model, batch = small_model(), hybrid_batch()
    losses = hybrid_losses(model, batch, *noise_and_time(), decouple=False)
    taught, expert = gradients(losses.flow.mean(), model)
    assert {name for name in taught if name.startswith("model.mm_vision_tower.")} and expert
    assert "model.llm.layers.0.mlp.up_proj.weight" in taught
    # The suffix reads the prefix, never the other way round: text cannot teach the expert.
    assert gradients(losses.text.mean(), model)[1] == set()


@torch.no_grad()
def test_the_expert_sees_what_generation_leaves():
    """Teacher forcing on texts that the network writes itself gives the cache of writing them."""
    model, batch = talkative_model(), hybrid_batch()
    cue = torch.full((4, 1), CUE)
    ids = torch.cat((batch.token_ids[:, :PROMPT], cue), 1)
    asked = replace(batch, token_ids=ids, token_mask=torch.ones_like(ids, dtype=torch.bool))
    free, _ = generate(model, encode(model, asked), Reasoning(12, frozenset()))
    stop = next(token for token in free[0].token_ids if token not in free[1].token_ids)
    texts, expected = generate(model, encode(model, asked), Reasoning(12, frozenset({stop})))
    lengths = torch.tensor([len(text.token_ids) for text in texts])
    assert len(set(lengths.tolist())) > 1
    answers = torch.tensor(
        [[*text.token_ids, *[stop] * (13 - n)] for text, n in zip(texts, lengths, strict=True)]
    )
    place = torch.arange(PROMPT + 1 + 13)
    forced = replace(
        asked,
        token_ids=torch.cat((ids, answers), 1),
        token_mask=place <= PROMPT + 1 + lengths[:, None],  # the stop token is read too
    )
    read = encode(model, forced)
    seen = visible_cache(model, read, torch.ones(4, dtype=torch.long))
    hidden = read.hidden[:, : expected.hidden.shape[1]]
    check_equal(replace(seen, hidden=hidden), expected)


@torch.no_grad()
@pytest.mark.parametrize("stopped", [True, False])
def test_an_engine_acts_on_what_the_expert_was_taught_with(stopped):
    """An engine that writes a text acts as the network does on the prefix of training."""
    model = talkative_model()
    engine, request = make_engine(model), replace(make_request(), cue_ids=np.array([CUE]))
    free = engine.infer([request], Reasoning(6, frozenset()))[0].text.token_ids
    stop = next(token for token in free[1:] if token != free[0]) if stopped else STOP
    (result,) = engine.infer([request], Reasoning(6, frozenset({stop})))
    text = result.text.token_ids
    assert 0 < len(text) < 6 if stopped else len(text) == 6
    pictures = np.stack([prepare_picture(frame, SIZE) for frame in request.frames])
    ids = torch.tensor([[*request.token_ids, CUE, *text, stop]])
    inputs = (
        torch.from_numpy(pictures)[None],
        torch.ones(1, len(pictures), dtype=torch.bool),
        ids,
        torch.ones_like(ids, dtype=torch.bool),
    )
    seen = visible_cache(model, model.encode_prefix(*inputs), torch.ones(1, dtype=torch.long))
    actions = model.integrate(seen, torch.from_numpy(request.noise)[None])
    np.testing.assert_allclose(result.actions, actions[0], rtol=0, atol=5e-5)


@torch.no_grad()
@pytest.mark.parametrize("level", ["prompt", "cue", "half", "whole"])
def test_hidden_text_is_as_if_it_were_not_there(level):
    model, batch = small_model(), hybrid_batch()
    whole = batch.token_mask.sum(1) - batch.learnt.any(1).long()
    cue = torch.minimum(whole, torch.tensor(PROMPT + 1))
    shown = {"prompt": batch.prompts, "cue": cue, "half": (cue + whole) // 2, "whole": whole}[
        level
    ]
    seen = visible_cache(model, encode(model, batch), batch.token_mask.sum(1) - shown)
    place = torch.arange(batch.token_ids.shape[1])
    short = replace(batch, token_mask=batch.token_mask & (place < shown[:, None]))
    expected = encode(model, short)
    check_equal(replace(seen, hidden=expected.hidden), expected)


@torch.no_grad()
def test_whether_the_expert_sees_text_matters_and_how_much_is_learnt_does_not():
    model, batch, drawn = small_model(), hybrid_batch(), noise_and_time()
    whole = hybrid_losses(model, batch, *drawn, decouple=True)
    hidden = hybrid_losses(model, replace(batch, shown=batch.prompts), *drawn, decouple=True)
    assert (whole.flow.values - hidden.flow.values)[:2].abs().min() > 1e-4
    torch.testing.assert_close(whole.text.values, hidden.text.values, rtol=0, atol=0)


@torch.no_grad()
def test_the_stop_token_is_not_shown():
    model, batch, drawn = small_model(), hybrid_batch(), noise_and_time()
    before = hybrid_losses(model, batch, *drawn, decouple=True).flow.values
    other = batch.token_ids.masked_fill(batch.token_ids == STOP, 1)
    after = hybrid_losses(model, replace(batch, token_ids=other), *drawn, decouple=True)
    torch.testing.assert_close(after.flow.values, before, rtol=0, atol=0)


@torch.no_grad()
def test_several_texts_of_a_picture_are_read_as_alone():
    model, batch, (noise, time) = small_model(), hybrid_batch(), noise_and_time(noises=2)
    found = hybrid_losses(model, batch, noise, time, decouple=False)
    hidden = last_of_prompt(batch, found.cache)
    for row in range(4):
        each, own = slice(row, row + 1), sample_of(batch, row)
        alone = hybrid_losses(model, own, noise[each], time[each], decouple=False)
        for mine, theirs in ((found.text, alone.text), (found.flow, alone.flow)):
            torch.testing.assert_close(mine.values[each], theirs.values, **CLOSE)
        torch.testing.assert_close(last_of_prompt(own, alone.cache), hidden[each], **CLOSE)
        short = replace(
            own, token_ids=own.token_ids[:, :PROMPT], token_mask=own.token_mask[:, :PROMPT]
        )
        torch.testing.assert_close(encode(model, short).hidden[:, -1], hidden[each], **CLOSE)


def test_samples_of_one_kind_teach_one_part_and_every_weight_takes_part():
    model, batch = small_model(), hybrid_batch()
    silent = replace(batch, learnt=torch.zeros_like(batch.learnt))
    still = replace(batch, acted=torch.zeros_like(batch.acted))
    for given, zero, taught in ((silent, "text", 1), (still, "flow", 0)):
        losses = hybrid_losses(model, given, *noise_and_time(), decouple=True)
        assert getattr(losses, zero).mean() == 0
        total = losses.text.mean() + losses.flow.mean()
        parts = gradients(total, model)
        assert parts[taught] and not parts[1 - taught]
        assert all(weight.grad is not None for weight in model.parameters())


@torch.no_grad()
def test_progress_is_the_squared_error_at_the_end_of_the_chunk():
    model, drawn = small_model(progress=True), noise_and_time(noises=2)
    progress = torch.tensor([[0.1, 0.3], [0.2, 0.6], [0.0, 0.1], [0.5, 1.0]])
    batch = hybrid_batch(progress=progress)
    found = hybrid_losses(model, batch, *drawn, decouple=True)
    assert found.progress.counted.tolist() == [True, True, True, False]
    for row in range(3):
        own, each = sample_of(batch, row), slice(row, row + 1)
        shown = int(own.shown)
        inputs = (own.images, own.image_masks, own.token_ids[:, :shown], own.token_mask[:, :shown])
        parts = (*inputs, own.actions, drawn[0][each], drawn[1][each])
        now, end = progress[each].unbind(1)
        flow, _ = model.flow_loss(*parts, progress=now)
        both, _ = model.flow_loss(*parts, progress=now, progress_target=end)
        torch.testing.assert_close(found.flow.values[row], flow, **CLOSE)
        torch.testing.assert_close(found.progress.values[row], both - flow, **CLOSE)
    assert set(found.parts()) == {"text", "flow", "progress"}


def test_a_progress_head_needs_progress_of_those_that_act():
    model, batch, drawn = small_model(progress=True), hybrid_batch(), noise_and_time()
    with pytest.raises(ValueError, match="must say their progress"):
        hybrid_losses(model, batch, *drawn, decouple=True)
    still = replace(batch, acted=torch.zeros_like(batch.acted))
    losses = hybrid_losses(model, still, *drawn, decouple=True)
    assert losses.progress.mean() == 0
    (losses.text.mean() + losses.flow.mean() + losses.progress.mean()).backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_text_is_judged_in_float32_under_autocast():
    model, batch = small_model(), hybrid_batch()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        losses = hybrid_losses(model, batch, *noise_and_time(), decouple=True)
    assert losses.text.values.dtype == losses.flow.values.dtype == torch.float32
    exact = hybrid_losses(model, batch, *noise_and_time(), decouple=True)
    torch.testing.assert_close(losses.text.values, exact.text.values, atol=0.2, rtol=0.05)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shown": torch.tensor([4, 4, 5, 4])}, "none beyond the text"),
        ({"shown": torch.tensor([0, 4, 4, 4])}, "at least a token"),
        ({"learnt": torch.ones(4, 11, dtype=torch.bool)}, "not its first"),
        ({"actions": torch.zeros(4, 4, 6)}, "noise has shape"),
    ],
)
def test_batches_that_contradict_themselves_are_refused(changes, words):
    batch = hybrid_batch(**changes)
    with pytest.raises(ValueError, match=words):
        hybrid_losses(small_model(), batch, *noise_and_time(), decouple=True)
