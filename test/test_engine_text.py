# SPDX-License-Identifier: Apache-2.0
"""Generated text, and the actions that see it, against the eager network."""

import numpy as np
import pytest
import torch
from model_samples import small_model
from operation_tape import record_on_tape
from test_engine_engine import SIZE, make_engine, make_request

from dm0_ros.engine import Reasoning
from dm0_ros.engine.text import choose_token
from dm0_ros.engine.weights import PrefixWeights
from dm0_ros.errors import ObservationError
from dm0_ros.model.text import generate
from dm0_ros.policy.pictures import prepare_picture


def talk_eagerly(model, request, limit, stop_ids):
    """Token ids, and the actions behind them, by `model.text.generate`."""
    images = torch.from_numpy(np.stack([prepare_picture(f, SIZE) for f in request.frames]))[None]
    ids = torch.from_numpy(request.token_ids)[None]
    there = torch.ones(1, len(request.frames), dtype=torch.bool)
    with torch.no_grad():
        cache = model.encode_prefix(images, there, ids, torch.ones_like(ids).bool(), True)
        (text,), cache = generate(model, cache, limit, stop_ids)
        actions = model.integrate(cache, torch.from_numpy(request.noise)[None])
    return text, actions[0].numpy()


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
        stops = {talk_eagerly(model, requests[-1], 3, set())[0][-1]}
        results = engine.infer(requests, Reasoning(limit, frozenset(stops)))
        for request, result in zip(requests, results, strict=True):
            text, actions = talk_eagerly(model, request, limit, stops)
            assert list(result.text) == text
            np.testing.assert_allclose(result.actions, actions, rtol=0, atol=5e-5)
            lengths.add(len(text))
    assert limit == 1 or len(lengths) > 1 or batch == 1


def test_a_call_without_text_after_one_with_text_is_as_new():
    engine, request = make_engine(small_model(), reuse=False), make_request()
    before = engine.infer([request])[0]
    talked = engine.infer([request], Reasoning(8, frozenset()))[0]
    assert len(talked.text) == 8 and before.text == ()
    assert np.abs(talked.actions - before.actions).max() > 1e-4
    assert np.array_equal(engine.infer([request])[0].actions, before.actions)


def test_reused_views_give_the_same_text():
    model, request = small_model(), make_request(views=3)
    engine, reasoning = make_engine(model), Reasoning(6, frozenset())
    first = engine.infer([request], reasoning)[0]
    again = engine.infer([request], reasoning)[0]
    assert again.text == first.text == tuple(talk_eagerly(model, request, 6, set())[0])
    np.testing.assert_allclose(again.actions, first.actions, atol=2e-5)


def test_text_that_finds_no_room_is_refused():
    engine = make_engine(small_model(), text_limit=32)
    with pytest.raises(ObservationError, match="has 20 tokens, there is room for 12"):
        engine.infer([make_request(text=20)], Reasoning(20, frozenset()))


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
