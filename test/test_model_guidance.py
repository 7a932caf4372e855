# SPDX-License-Identifier: Apache-2.0
"""Real-time chunking: its weights, its correction against finite differences, what it achieves."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_samples import SMALL, chunk, observation, small_model

from dm0_ros.model.flow import euler_times
from dm0_ros.model.guidance import (
    STRONGEST,
    Commitment,
    Guidance,
    integrate,
    strength,
    weigh_rows,
)

ROWS = SMALL.chunk_size


def make_commitment(rows, delay=1, executed=2):
    batch, horizon = rows.shape[:2]
    weights = weigh_rows(horizon, delay, executed).expand(batch, -1).to(rows)
    return Commitment(rows, weights, torch.full((batch,), delay))


def encode(model):
    with torch.no_grad():
        return model.encode_prefix(*observation())


@given(horizon=st.integers(2, 60), data=st.data())
def test_weights_bind_what_is_certain_and_fade_to_nothing(horizon, data):
    delay = data.draw(st.integers(0, horizon // 2))
    executed = data.draw(st.integers(delay, horizon - delay))
    weights = weigh_rows(horizon, delay, executed)
    assert (weights[:delay] == 1).all() and (weights[horizon - executed :] == 0).all()
    assert (weights.diff() <= 0).all() and (weights >= 0).all()
    if delay < horizon - executed:
        share = (horizon - executed - delay) / (horizon - executed - delay + 1)
        expected = share * (math.exp(share) - 1) / (math.e - 1)
        assert float(weights[delay]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("delay", "executed"), [(3, 2), (-1, 2), (4, 7), (6, 6)])
def test_weights_refuse_what_cannot_be_kept(delay, executed):
    with pytest.raises(ValueError, match="delay <= executed <= horizon - delay"):
        weigh_rows(10, delay, executed)


def test_strength_is_the_published_one_within_its_bound():
    for tau, value in ((0.3, 2.76), (0.5, 2.0), (0.7, 2.76), (0.2, 4.25), (0.6, 2.17)):
        assert strength(1 - tau) == pytest.approx(value, abs=5e-3)
    assert strength(1.0) == strength(0.9) == strength(0.1) == STRONGEST


@pytest.mark.parametrize("guidance", [Guidance.JACOBIAN, Guidance.IDENTITY])
def test_one_step_is_the_formula_with_a_numerical_jacobian(guidance):
    """The vector-Jacobian product against differences of the network itself, in float64."""
    model = small_model().double()
    cache = encode(small_model())
    cache = cache.__class__(
        [(k.double(), v.double()) for k, v in cache.layers], cache.lengths,
        tuple(part.double() for part in cache.rope), cache.mask,
    )  # fmt: skip
    times = [1.0, 0.6]
    rows = chunk(seed=5).double()
    commitment = make_commitment(rows)

    def field(x, step, clean):
        return model._field(cache, x, torch.tensor(times[step]), None)

    noise = chunk(seed=1).double()
    after, _ = integrate(noise, times, field, guidance, commitment)
    x = noise
    with torch.no_grad():
        for step, time in enumerate(times):
            velocity = field(x, step, None)[0]
            error = (rows - (x - time * velocity)) * commitment.weights[..., None]
            correction = error
            if guidance is Guidance.JACOBIAN:
                correction = torch.empty_like(x)
                for place in range(x[0].numel()):
                    nudge = torch.zeros_like(x).flatten(1)
                    nudge[:, place] = 1e-6
                    nudge = nudge.view_as(x)
                    clean = [
                        x + s * nudge - time * field(x + s * nudge, step, None)[0] for s in (1, -1)
                    ]
                    slope = (clean[0] - clean[1]) / 2e-6
                    correction.flatten(1)[:, place] = (slope * error).flatten(1).sum(1)
            x = x - (velocity - strength(time) * correction) / len(times)
    torch.testing.assert_close(after, x, rtol=1e-5, atol=1e-7)


def distance(model, guidance, rows, delay=2, executed=2):
    """Of the certain rows from what is committed."""
    commitment = None if guidance is Guidance.NONE else make_commitment(rows, delay, executed)
    actions = model.integrate(encode(model), chunk(seed=3), 10, None, guidance, commitment)
    return float((actions - rows)[:, :delay].abs().mean())


def test_every_guidance_brings_the_chunk_nearer_to_what_is_committed():
    model = small_model()
    rows = model.integrate(encode(model), chunk(seed=4))
    plain = distance(model, Guidance.NONE, rows)
    assert distance(model, Guidance.IDENTITY, rows) < plain / 3
    assert distance(model, Guidance.JACOBIAN, rows) < plain / 3
    assert distance(model, Guidance.PREFIX, rows) == 0.0


@pytest.mark.parametrize("guidance", [Guidance.JACOBIAN, Guidance.IDENTITY])
def test_a_commitment_without_weight_changes_nothing(guidance):
    model, cache = small_model(), encode(small_model())
    rows = chunk(seed=9)
    free = Commitment(rows, torch.zeros(2, ROWS), torch.zeros(2, dtype=torch.long))
    plain = model.integrate(cache, chunk())
    guided = model.integrate(cache, chunk(), 10, None, guidance, free)
    torch.testing.assert_close(guided, plain, rtol=0, atol=1e-6)


def test_rows_given_as_clean_are_told_to_the_network_as_of_time_zero():
    model, cache, rows = small_model(), encode(small_model()), chunk(seed=9)
    commitment = make_commitment(rows, delay=2)
    guided = model.integrate(cache, chunk(), 4, None, Guidance.PREFIX, commitment)
    x, certain = chunk(), torch.arange(ROWS) < 2
    for time in euler_times(4):
        x = torch.where(certain[:, None], rows, x)
        when = torch.where(certain, 0.0, time).expand(2, -1)
        with torch.no_grad():
            x = x - model.velocity(cache, x, when)[0] / 4
    torch.testing.assert_close(guided[:, 2:], x[:, 2:], rtol=0, atol=1e-6)
    assert torch.equal(guided[:, :2], rows[:, :2])


def test_one_time_for_each_row_is_the_same_as_one_for_all():
    model, x = small_model(progress=True), chunk()
    cache, progress = encode(model), torch.full((2, 1, 1), 0.4)
    with torch.no_grad():
        one = model.velocity(cache, x, torch.tensor([0.3, 0.8]), progress)
        each = torch.tensor([[0.3], [0.8]]).expand(-1, ROWS)
        rows = model.velocity(cache, x, each, progress)
    for a, b in zip(one, rows, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_guidance_without_commitment_is_refused():
    model = small_model()
    with pytest.raises(ValueError, match="guidance identity needs a commitment"):
        model.integrate(encode(model), chunk(), guidance=Guidance.IDENTITY)
