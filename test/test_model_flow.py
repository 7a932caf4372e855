# SPDX-License-Identifier: Apache-2.0
"""The Euler integration: its times, its state and its dtypes."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_samples import chunk, observation, small_model

from dm0_ros.model import DM0
from dm0_ros.model.flow import embed_time, euler_times

CHECKED = [1, 4, 5, 10, 20, 25, 50, 100]


@pytest.mark.parametrize("steps", CHECKED)
def test_times_are_those_of_the_published_loop(steps):
    """A loop over float32 times, which ends half a step before zero (facts: A.6)."""
    step, time, expected = torch.tensor(-1.0 / steps), torch.tensor(1.0), []
    while time >= 0.5 / steps:
        expected.append(time)
        time = time + step
    assert torch.equal(euler_times(steps), torch.stack(expected))


@given(st.integers(1, 400))
def test_there_are_as_many_times_as_steps(steps):
    times = euler_times(steps)
    assert len(times) == steps and times[0] == 1
    exact = 1 - torch.arange(steps, dtype=torch.float64) / steps
    assert float((times - exact).abs().max()) < 2e-5


def test_time_waves_are_float32_on_a_cpu_and_float64_elsewhere():
    time = torch.tensor([0.3, 1.0])
    found = embed_time(time, 1024)
    assert found.dtype == torch.float32
    periods = [0.004 * 1000 ** (j / 511) for j in range(512)]
    angles = [2 * math.pi * float(time[0]) / period for period in periods]
    exact = torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles])
    # Angles reach 1571 rad, where float32 steps by a ten-thousandth.
    torch.testing.assert_close(found[0], exact, atol=3e-4, rtol=0)
    assert embed_time(time.to("meta"), 1024).dtype == torch.float64


def test_the_state_and_the_suffix_stay_float32_around_bfloat16_matrices(tmp_path):
    small_model(progress=True).save_pretrained(tmp_path)
    model = DM0.from_pretrained(tmp_path, torch.bfloat16)
    expert = model.model.action_expert["model"]
    seen = {}

    def note(name):
        def hook(_, inputs, output):
            given_back = output[0] if isinstance(output, tuple) else output
            seen.setdefault(name, (inputs[0].dtype, given_back.dtype))

        return hook

    expert.layers[0].register_forward_hook(note("suffix"))
    expert.layers[0].self_attn.q_proj.register_forward_hook(note("matrix"))
    model.model.llm.layers[0].register_forward_hook(note("prefix"))
    model.model.action_out_proj.register_forward_hook(note("velocity"))
    progress = torch.full((2, 1, 1), 0.5)
    actions, ended = model.sample_actions(*observation(), noise=chunk(), progress=progress)
    wide, narrow = (torch.float32,) * 2, (torch.bfloat16,) * 2
    assert seen == {"suffix": wide, "matrix": narrow, "prefix": narrow, "velocity": wide}
    assert actions.dtype == ended.dtype == torch.float32
    assert not torch.equal(actions, actions.bfloat16().float())


def test_the_suffix_is_bfloat16_where_autocast_trains():
    model, seen = small_model(), []
    for layer in model.model.action_expert["model"].layers:
        layer.register_forward_hook(lambda _, inputs, output: seen.append(output[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        model.flow_loss(*observation(), chunk(), chunk(seed=2), torch.tensor([0.2, 0.7]))
    assert seen == [torch.bfloat16] * 2


def test_progress_is_the_least_of_all_steps_and_is_held_constant():
    model, inputs, noise = small_model(progress=True), observation(), chunk()
    given_progress = torch.tensor([0.2, 0.6]).view(2, 1, 1)
    _, ended = model.sample_actions(*inputs, noise=noise, steps=4, progress=given_progress)
    with torch.no_grad():
        cache, x, ends = model.encode_prefix(*inputs), noise, []
        for time in euler_times(4):
            velocity, end = model.velocity(cache, x, time, given_progress)
            x = x - velocity / 4
            ends.append(end)
    stacked = torch.stack(ends)
    torch.testing.assert_close(ended, stacked.amin(0))
    assert not torch.equal(stacked.amin(0), stacked[-1])  # else this test could not fail


def test_padded_columns_take_part_in_noise_and_loss():
    model, inputs, actions, noise = small_model(), observation(), chunk(), chunk(seed=2)
    time = torch.tensor([0.4, 0.8])
    with torch.no_grad():
        plain, velocity = model.flow_loss(*inputs, actions, noise, time)
        moved = noise.clone()
        moved[..., -1] += 1
        _, other = model.flow_loss(*inputs, actions, moved, time)
        torch.testing.assert_close(plain, (velocity - (noise - actions)).square().mean())
    assert (velocity[..., 0] - other[..., 0]).abs().max() > 1e-4
