# SPDX-License-Identifier: Apache-2.0
"""Real-time chunking in the fast network, against the eager one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from model_samples import SMALL, small_model
from operation_tape import record_on_tape
from test_engine_engine import SIZE, make_engine, make_request

from dm0_ros.engine import Committed
from dm0_ros.errors import ObservationError
from dm0_ros.model.guidance import Commitment, Guidance, weigh_rows
from dm0_ros.policy.pictures import prepare_picture

ROWS, WIDTH = SMALL.chunk_size, SMALL.action_dim


def commit(seed=0, count=ROWS, delay=1, executed=2):
    rows = np.random.default_rng(seed).standard_normal((count, WIDTH)).astype(np.float32)
    return Committed(rows, delay, executed)


def answer_eagerly(model, request, guidance):
    images = torch.from_numpy(np.stack([prepare_picture(f, SIZE) for f in request.frames]))[None]
    ids = torch.from_numpy(request.token_ids)[None]
    there = torch.ones(1, len(request.frames), dtype=torch.bool)
    given = request.committed
    rows, weights = torch.zeros(1, ROWS, WIDTH), torch.zeros(1, ROWS)
    rows[0, : len(given.rows)] = torch.from_numpy(given.rows)
    weights[0] = weigh_rows(ROWS, given.delay, given.executed)
    weights[0, len(given.rows) :] = 0
    commitment = Commitment(rows, weights, torch.tensor([given.delay]))
    progress = None if request.progress is None else torch.full((1, 1, 1), request.progress)
    with torch.no_grad():
        cache = model.encode_prefix(images, there, ids, torch.ones_like(ids).bool())
    noise = torch.from_numpy(request.noise)[None]
    answer = model.integrate(cache, noise, 10, progress, guidance, commitment)
    return answer[0].numpy() if progress is None else answer[0][0].numpy()


@pytest.mark.parametrize("capture", [None, record_on_tape])
@pytest.mark.parametrize("guidance", [Guidance.JACOBIAN, Guidance.IDENTITY, Guidance.PREFIX])
@pytest.mark.parametrize("progress", [None, 0.4])
def test_guided_chunks_are_those_of_the_eager_network(capture, guidance, progress):
    model = small_model(progress=progress is not None)
    engine = make_engine(model, capture, guidance=guidance)
    for seed, (count, delay) in enumerate([(ROWS, 1), (3, 2), (ROWS, 0)]):
        request = replace(
            make_request(seed, progress=progress), committed=commit(seed, count, delay)
        )
        result = engine.infer([request])[0]
        expected = answer_eagerly(model, request, guidance)
        np.testing.assert_allclose(result.actions, expected, rtol=0, atol=5e-5)


@pytest.mark.parametrize("guidance", [Guidance.JACOBIAN, Guidance.IDENTITY, Guidance.PREFIX])
def test_a_first_chunk_is_not_guided(guidance):
    model, request = small_model(), make_request()
    plain = make_engine(model).infer([request])[0].actions
    first = make_engine(model, guidance=guidance).infer([request])[0].actions
    np.testing.assert_allclose(first, plain, rtol=0, atol=2e-5)


def test_robots_of_one_batch_are_guided_each_by_its_own():
    model = small_model()
    engine = make_engine(model, guidance=Guidance.IDENTITY)
    requests = [replace(make_request(n), committed=commit(n, delay=n)) for n in range(3)]
    for request, result in zip(requests, engine.infer(requests), strict=True):
        expected = answer_eagerly(model, request, Guidance.IDENTITY)
        np.testing.assert_allclose(result.actions, expected, rtol=0, atol=5e-5)


@pytest.mark.parametrize(
    ("committed", "words"),
    [
        (Committed(np.zeros((3, 2), np.float32), 1, 2), r"must be \(n, 6\)"),
        (Committed(np.full((3, WIDTH), np.nan, np.float32), 1, 2), "finite"),
        (commit(delay=3, executed=2), "delay <= executed"),
        (commit(delay=2, executed=4), "delay <= executed"),
        (commit(count=1, delay=2), "1 of them left"),
    ],
)
def test_commitments_that_do_not_fit_are_refused(committed, words):
    engine = make_engine(small_model(), guidance=Guidance.IDENTITY)
    with pytest.raises(ObservationError, match=words):
        engine.infer([replace(make_request(), committed=committed)])
