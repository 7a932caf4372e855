# SPDX-License-Identifier: Apache-2.0
"""Generated text, and the actions that see it, against the eager network."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from model_samples import small_model
from operation_tape import record_on_tape
from test_engine_engine import SIZE, make_engine, make_request

from dm0_ros.engine.text import choose_token
from dm0_ros.engine.weights import PrefixWeights
from dm0_ros.errors import ObservationError
from dm0_ros.model.reasoning import Reasoning
from dm0_ros.model.text import generate
from dm0_ros.policy.pictures import prepare_picture


def talk_eagerly(model, request, reasoning, seen=True):
    """The text, and the actions that see it or do not, by `model.text.generate`."""
    images = torch.from_numpy(np.stack([prepare_picture(f, SIZE) for f in request.frames]))[None]
    there = torch.ones(1, len(request.frames), dtype=torch.bool)

    def read(ids):
        ids = torch.from_numpy(ids)[None]
        return model.encode_prefix(images, there, ids, torch.ones_like(ids).bool(), True)

    with torch.no_grad():
        cache = read(np.concatenate((request.token_ids, request.cue_ids)))
        (text,), longer = generate(model, cache, reasoning)
        cache = longer if seen else read(request.token_ids)
        actions = model.integrate(cache, torch.from_numpy(request.noise)[None])
    return text, actions[0].numpy()


def greedy(limit, stops=(), **how):
    return Reasoning(limit, frozenset(stops), **how)


@pytest.mark.parametrize("capture", [None, record_on_tape])
@pytest.mark.parametrize("limit", [1, 5, 20])
@pytest.mark.parametrize("batch", [1, 3])
def test_text_and_actions_are_those_of_the_eager_network(capture, limit, batch):
    model = small_model()
    engine = make_engine(model, capture)
    lengths = set()
    for first in (0, 10):
        requests = [make_request(first + n, text=3 + 6 * n) for n in range(batch)]
        # Every network likes some tokens: this one's second choice ends its text.
        stops = {talk_eagerly(model, requests[-1], greedy(3))[0].token_ids[-1]}
        results = engine.infer(requests, greedy(limit, stops))
        for request, result in zip(requests, results, strict=True):
            text, actions = talk_eagerly(model, request, greedy(limit, stops))
            assert result.text == text
            np.testing.assert_allclose(result.actions, actions, rtol=0, atol=5e-5)
            lengths.add(len(text.token_ids))
    assert limit == 1 or len(lengths) > 1 or batch == 1


@pytest.mark.parametrize("capture", [None, record_on_tape])
def test_drawn_text_is_that_of_the_eager_network(capture):
    model = small_model()
    engine, texts = make_engine(model, capture), set()

    def drawn(seed):
        return greedy(15, temperature=30.0, generator=torch.Generator().manual_seed(seed))

    for seed in range(4):
        request = make_request()
        result = engine.infer([request], drawn(seed))[0]
        text, actions = talk_eagerly(model, request, drawn(seed))
        assert result.text == text
        np.testing.assert_allclose(result.actions, actions, rtol=0, atol=5e-5)
        texts.add(text)
    assert len(texts) == 4
    # The likeliest text is still to be had after drawn ones.
    assert (
        engine.infer([request], greedy(15))[0].text == talk_eagerly(model, request, greedy(15))[0]
    )


def with_cue(request, cue=(4, 3, 2)):
    return replace(request, cue_ids=np.array(cue))


@pytest.mark.parametrize("capture", [None, record_on_tape])
@pytest.mark.parametrize("bucket", [1, 16])
@pytest.mark.parametrize("kept", [set(), {0}, {1}, {0, 1}])
def test_actions_see_cue_and_text_or_neither(capture, bucket, kept):
    model = small_model()
    engine = make_engine(model, capture, text_bucket=bucket)
    requests = [with_cue(make_request(n, text=3 + 14 * n)) for n in range(2)]
    asked = []

    def accept(index, text):
        asked.append((index, text))
        return index in kept

    results = engine.infer(requests, greedy(6), accept)
    for index, (request, result) in enumerate(zip(requests, results, strict=True)):
        text, actions = talk_eagerly(model, request, greedy(6), seen=index in kept)
        assert result.text == text and asked[index] == (index, text)
        np.testing.assert_allclose(result.actions, actions, rtol=0, atol=5e-5)


@pytest.mark.parametrize("bucket", [1, 16])
def test_actions_after_a_refused_text_are_those_without_one(bucket):
    engine, request = make_engine(small_model(), text_bucket=bucket), with_cue(make_request())
    refused = engine.infer([request], greedy(9), lambda *_: False)[0]
    plain = engine.infer([request])[0]
    assert len(refused.text.token_ids) == 9 and plain.text is None
    np.testing.assert_allclose(refused.actions, plain.actions, rtol=0, atol=1e-5)


def test_a_text_that_ends_early_is_seen_as_far_as_it_goes():
    model, request = small_model(), with_cue(make_request())
    for how in (
        {"complete": lambda ids: len(ids) == 3},
        {"proceed": iter([True, True, True, True, False]).__next__},
        {"seconds": 0.0},
    ):
        result = make_engine(model).infer([request], greedy(8, **how))[0]
        length = len(result.text.token_ids)
        assert length == (0 if "seconds" in how else 3)
        text, actions = talk_eagerly(model, request, greedy(length))
        assert result.text.token_ids == text.token_ids
        np.testing.assert_allclose(result.actions, actions, rtol=0, atol=5e-5)


@pytest.mark.parametrize("capture", [None, record_on_tape])
def test_text_alone_is_the_same_text(capture):
    model = small_model()
    engine = make_engine(model, capture)
    for first in (0, 10):
        requests = [with_cue(make_request(first + n, text=3 + 6 * n)) for n in range(3)]
        texts = engine.write(requests, greedy(7))
        expected = [talk_eagerly(model, request, greedy(7))[0] for request in requests]
        assert texts == expected
    assert engine.timing.reasoning > 0 == engine.timing.flow


@pytest.mark.parametrize("capture", [None, record_on_tape])
def test_a_fork_has_the_weights_and_nothing_else_in_common(capture):
    model, first, second = small_model(), make_request(1), with_cue(make_request(2))
    engine = make_engine(model, capture)
    fork = engine.fork()
    before = engine.infer([first])[0].actions
    for pace in (6, 20):
        assert (
            fork.write([second], greedy(pace))[0] == talk_eagerly(model, second, greedy(pace))[0]
        )
        assert np.array_equal(engine.infer([first])[0].actions, before)
    assert fork._stages is engine._stages


def test_a_fork_works_beside_its_engine():
    model = small_model()
    engine = make_engine(model)
    fork = engine.fork()
    requests = [with_cue(make_request(seed)) for seed in range(4)]
    expected = [talk_eagerly(model, request, greedy(12))[0] for request in requests]
    answers = [engine.infer([request])[0].actions for request in requests]
    found, errors = [], []

    def write():
        try:
            for _ in range(5):
                found.append([fork.write([request], greedy(12))[0] for request in requests])
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    rounds = 0
    while thread.is_alive() or not rounds:
        for request, answer in zip(requests, answers, strict=True):
            np.testing.assert_allclose(engine.infer([request])[0].actions, answer, atol=2e-5)
        rounds += 1
    thread.join()
    assert not errors and found == [expected] * 5


def test_a_warm_up_leaves_no_graph_to_be_captured_for_text():
    engine = make_engine(small_model(), record_on_tape)
    engine.warm_up([(SIZE, SIZE)] * 2, [10], greedy(2), actions=False)
    ready = engine.describe()["graphs"]
    engine.write([with_cue(make_request(text=7))], greedy(9))
    assert engine.describe()["graphs"] == ready


def test_a_call_without_text_after_one_with_text_is_as_new():
    engine, request = make_engine(small_model(), reuse=False), with_cue(make_request())
    before = engine.infer([request])[0]
    talked = engine.infer([request], greedy(8))[0]
    assert len(talked.text.token_ids) == 8 and before.text is None
    assert np.abs(talked.actions - before.actions).max() > 1e-4
    assert np.array_equal(engine.infer([request])[0].actions, before.actions)


def test_reused_views_give_the_same_text():
    model, request = small_model(), make_request(views=3)
    engine, reasoning = make_engine(model), greedy(6)
    first = engine.infer([request], reasoning)[0]
    again = engine.infer([request], reasoning)[0]
    assert again.text == first.text == talk_eagerly(model, request, greedy(6))[0]
    np.testing.assert_allclose(again.actions, first.actions, atol=2e-5)


def test_text_that_finds_no_room_is_refused():
    engine = make_engine(small_model(), text_limit=32)
    with pytest.raises(ObservationError, match="has 20 tokens, there is room for 12"):
        engine.infer([make_request(text=20)], greedy(20))
    with pytest.raises(ObservationError, match="has 3 tokens, there is room for 2"):
        engine.infer([with_cue(make_request(text=10))], greedy(20))


def test_scores_that_round_to_one_number_are_told_apart():
    hidden = 64
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(40, hidden, generator=generator)
    embeddings[:12] = embeddings[12] + 2e-3 * embeddings[:12]  # twelve are alike
    embeddings[12:] /= 10
    weights = PrefixWeights(embeddings.bfloat16(), (), torch.ones(hidden).bfloat16(), 1e-6)
    states = embeddings[:8].bfloat16()
    normed = torch.nn.functional.rms_norm(states, (hidden,), weights.norm, 1e-6)
    exact = (normed.float() @ weights.embeddings.float().T).argmax(-1)
    rounded = (normed @ weights.embeddings.T).argmax(-1)
    assert torch.equal(choose_token(states, weights), exact)
    assert not torch.equal(rounded, exact)
