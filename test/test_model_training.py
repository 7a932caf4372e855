# SPDX-License-Identifier: Apache-2.0
"""The training side: noise repeats, gradients, progress, and that a small network learns."""

from dataclasses import replace

import pytest
import torch
from model_samples import SMALL, chunk, observation, small_model

from dm0_ros.errors import ObservationError
from dm0_ros.model import DM0
from dm0_ros.model.flow import draw_time, interpolate

TIMES = torch.tensor([[0.1, 0.5, 0.9], [0.2, 0.6, 1.0]])


def noises():
    return torch.stack([chunk(seed=10 + k) for k in range(3)], 1)


@pytest.mark.parametrize("ragged", [False, True])
def test_repeats_equal_separate_passes(ragged):
    model, inputs, actions, noise = small_model(), observation(), chunk(), noises()
    if ragged:
        inputs[3][0, 4:] = False
        inputs[1][1, 0] = False
    loss, velocity = model.flow_loss(*inputs, actions, noise, TIMES)
    assert velocity.shape == noise.shape
    single = [model.flow_loss(*inputs, actions, noise[:, k], TIMES[:, k]) for k in range(3)]
    stacked = torch.stack([part[1] for part in single], 1)
    torch.testing.assert_close(velocity, stacked, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loss, torch.stack([part[0] for part in single]).mean())


def test_loss_is_the_squared_error_of_the_velocity():
    model, actions, noise = small_model(), chunk(), noises()
    loss, velocity = model.flow_loss(*observation(), actions, noise, TIMES)
    torch.testing.assert_close(loss, (velocity - (noise - actions[:, None])).square().mean())


def test_the_line_runs_from_actions_to_noise():
    actions, noise = chunk(seed=1), chunk(seed=2)
    for time, end in ((0.0, actions), (1.0, noise)):
        point, velocity = interpolate(actions, noise, torch.full((2,), time))
        assert torch.equal(point, end) and torch.equal(velocity, noise - actions)


def test_every_weight_that_the_actions_use_is_trained():
    model = small_model(progress=True)
    ends = torch.tensor([0.1, 0.2]), torch.tensor([0.3, 0.4])
    loss, _ = model.flow_loss(
        *observation(), chunk(), noises(), TIMES, progress=ends[0], progress_target=ends[1]
    )
    loss.backward()
    still = {
        name
        for name, weight in model.named_parameters()
        if weight.grad is None or not weight.grad.any()
    }
    last = f"model.llm.layers.{SMALL.llm.num_hidden_layers - 1}."
    unused = {name for name, _ in model.named_parameters() if name.startswith(last)}
    unused -= {last + f"self_attn.{part}.weight" for part in ("k_proj", "v_proj", "k_norm")}
    unused -= {last + "input_layernorm.weight"}
    assert still == unused | {"model.llm.norm.weight"}


def test_decoupling_keeps_the_gradient_out_of_the_prefix():
    model = small_model()
    model.flow_loss(*observation(), chunk(), noises(), TIMES, decouple=True)[0].backward()
    parts = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None}
    assert parts == {
        "action_expert", "action_in_proj", "action_out_proj",
        "action_time_mlp_in", "action_time_mlp_out",
    }  # fmt: skip


def test_progress_term_is_added_with_its_weight():
    model = small_model(progress=True)
    inputs, now, end = observation(), torch.tensor([0.1, 0.2]), torch.tensor([0.5, 0.9])
    args = (*inputs, chunk(), noises(), TIMES)
    plain, _ = model.flow_loss(*args, progress=now)
    once, velocity = model.flow_loss(*args, progress=now, progress_target=end)
    twice, _ = model.flow_loss(*args, progress=now, progress_target=end, progress_weight=2.0)
    torch.testing.assert_close(twice - plain, 2 * (once - plain))
    cache = model.encode_prefix(*inputs)
    errors = []
    for k in range(3):
        x_t, _ = interpolate(chunk(), noises()[:, k], TIMES[:, k])
        found, ended = model.velocity(cache, x_t, TIMES[:, k], progress=now)
        torch.testing.assert_close(found, velocity[:, k], atol=1e-5, rtol=1e-5)
        errors.append((ended.flatten() - end).square().mean())
    torch.testing.assert_close(once - plain, torch.stack(errors).mean(), atol=1e-5, rtol=1e-4)


def test_progress_without_head_or_without_input_is_refused():
    args = (*observation(), chunk(), noises(), TIMES)
    with pytest.raises(ObservationError, match="no progress head"):
        small_model().flow_loss(*args, progress=torch.zeros(2))
    with pytest.raises(ValueError, match="needs progress"):
        small_model(progress=True).flow_loss(*args, progress_target=torch.zeros(2))


@pytest.mark.parametrize(
    ("actions", "noise", "time", "words"),
    [
        (torch.zeros(2, 4, 6), chunk(), TIMES[:, 0], "actions have shape"),
        (chunk(), torch.zeros(3, 5, 6), TIMES[:, 0], "noise has shape"),
        (chunk(), noises(), TIMES[:, 0], "time has shape"),
    ],
)
def test_wrong_shapes_are_refused(actions, noise, time, words):
    with pytest.raises(ValueError, match=words):
        small_model().flow_loss(*observation(), actions, noise, time)


def test_training_times_follow_the_beta_distribution():
    time = draw_time((200_000,), torch.Generator().manual_seed(0))
    assert time.min() >= 0.001 and time.max() <= 1.0
    raw = (time - 0.001) / 0.999
    assert abs(raw.mean() - 0.6) < 0.005  # of Beta(1.5, 1)
    assert abs((raw < 0.5).float().mean() - 0.5**1.5) < 0.005


def test_fresh_weights_start_at_the_loss_of_a_zero_field():
    torch.manual_seed(0)
    model = DM0(SMALL)
    assert all(weight.isfinite().all() for weight in model.parameters())
    _, velocity = model.flow_loss(*observation(), chunk(), noises(), TIMES)
    assert velocity.std() < 0.2


@pytest.mark.parametrize("autocast", [False, True])
def test_a_small_network_learns_what_a_picture_asks_for(autocast):
    torch.manual_seed(0)
    model = DM0(replace(SMALL, chunk_size=3, action_dim=2))
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    images, views, ids, mask = observation(batch=8, views=1)
    images = torch.zeros_like(images)
    images[4:] = 1
    views = views[:, :1]
    goal = torch.where(torch.arange(8) < 4, -1.0, 1.0)[:, None, None].expand(8, 3, 2)
    for _ in range(120):
        noise = torch.randn(8, 4, 3, 2, generator=generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            time = draw_time((8, 4), generator)
            loss, _ = model.flow_loss(images, views, ids, mask, goal, noise, time)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    noise = torch.randn(8, 3, 2, generator=generator)
    actions = model.sample_actions(images, views, ids, mask, noise=noise)
    assert (actions - goal).abs().mean() < 0.25
